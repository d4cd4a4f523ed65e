//! `spgraph runtime`: the ONNX Runtime libraries that were found, and getting one.

use super::engine_args::EngineArgs;
use super::flags::with_flags;
use super::output;
use clap::Subcommand;
use spgraph::engine::{self, Device};
use spgraph::report::{Align, Table};

/// Show which ONNX Runtime libraries were found and which one is used, or install one
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Download a pinned release with pip into spgraph's cache
    Install {
        /// The Python whose pip is used
        #[arg(long, default_value = "python3")]
        python: String,
    },
}

pub fn run(args: Args) -> anyhow::Result<()> {
    if let Some(Command::Install { python }) = args.command {
        let path = engine::install(&python)?;
        return output::print(&format!("{}\n", path.display()));
    }
    let options = args.engine.options();
    let mut candidates = engine::discover(&options);
    candidates.iter_mut().for_each(|c| c.reason = with_flags(&c.reason));
    if args.json {
        return output::print_json(&candidates);
    }
    let mut table = Table::new([
        ("", Align::Left),
        ("version", Align::Left),
        ("cuda", Align::Left),
        ("found by", Align::Left),
        ("path", Align::Left),
        ("why", Align::Left),
    ]);
    for c in &candidates {
        table.row([
            if c.chosen { "*" } else { "" }.to_string(),
            c.version.clone().unwrap_or_else(|| "?".into()),
            if c.has_cuda { "yes" } else { "no" }.into(),
            with_flags(&c.origin.to_string()),
            c.path.display().to_string(),
            c.reason.clone(),
        ]);
    }
    let list =
        if table.is_empty() { "no ONNX Runtime library was found; `spgraph runtime install` gets one\n".into() } else { table.to_string() };
    let used = match (candidates.iter().any(|c| c.chosen), options.device) {
        (true, _) => "--engine auto uses the library marked *",
        (false, Device::Cpu) => "--engine auto uses tract, which is built in",
        (false, Device::Cuda) => "--device cuda cannot be used: none of these can, and tract computes on the CPU only",
    };
    output::print(&format!("{list}\n{used}\n"))
}
