//! `spgraph lower`: ONNX's preview operators for training, in standard operators.

use super::output;
use spgraph::onnx;
use spgraph::rewrite::lower;
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::Inputs;
use std::path::PathBuf;

/// Replace ONNX's preview operators for training by standard ones
///
/// `Gradient`, `Adam`, `Adagrad` and `Momentum` of `ai.onnx.preview.training`, which stock runtimes do not have. Inputs, outputs and their names stay.
#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    Inputs::new([&args.model]).check_file(&args.output)?;
    let out = OutputFile::create(&args.output, args.force)?;
    let lowered = lower(&args.model)?;
    Inputs::new(&lowered.read).check_file(&args.output)?;
    onnx::write_to(out, &lowered.model)?;
    let counts: Vec<String> = lowered.replaced.iter().map(|(op, count)| format!("{op} {count}")).collect();
    let said = if counts.is_empty() { "none: the model has no preview operators".into() } else { counts.join(", ") };
    if !output::is_quiet() {
        output::print(&format!("replaced    {said}\n"))?;
    }
    output::print_written(&args.output)
}
