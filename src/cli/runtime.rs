//! `spgraph runtime`: the ONNX Runtime libraries that were found, and getting one.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::flags::with_flags;
use super::libraries::libraries;
use super::output;
use clap::Subcommand;
use spgraph::engine::{self, Device};
use std::path::PathBuf;

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
    /// Put a pinned release into spgraph's cache: downloaded with pip, or from a file
    Install {
        /// The Python whose pip is used
        #[arg(long, default_value = "python3")]
        python: String,
        /// The pinned wheel, or the library in it, fetched elsewhere: for machines without a network
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// For which device: cuda takes the build with the CUDA provider (256 MB)
        #[arg(long, value_parser = choice::<Device>(&["cpu", "cuda"]), default_value = "cpu")]
        device: Device,
    },
    /// Examine this machine as `spgraph doctor` does
    Doctor(super::doctor::Args),
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Install { python, from, device }) => {
            let path = engine::install(&python, from.as_deref(), device)?;
            return output::print_path(&path);
        }
        Some(Command::Doctor(args)) => return super::doctor::run(args),
        None => {}
    }
    let options = args.engine.options();
    let mut candidates = engine::discover(&options);
    candidates.iter_mut().for_each(|c| c.reason = with_flags(&c.reason));
    if args.json {
        return output::print_json(&candidates);
    }
    let list = libraries(&candidates).unwrap_or_else(|| "no ONNX Runtime library was found; `spgraph runtime install` gets one\n".into());
    let used = match (candidates.iter().any(|c| c.chosen), options.device) {
        (true, _) => "--engine auto uses the library marked *",
        (false, Device::Cpu) => "--engine auto uses tract, which is built in",
        (false, Device::Cuda) => "--device cuda cannot be used: none of these can, and tract computes on the CPU only",
    };
    output::print(&format!("{list}\n{used}\n"))
}
