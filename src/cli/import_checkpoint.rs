//! `spgraph import-checkpoint`: what ONNX Runtime's training API trained, as a run.

use super::output;
use spgraph::bundle::Bundle;
use spgraph::train::import_checkpoint;
use std::path::PathBuf;

/// Make a run of a checkpoint that ONNX Runtime's training API saved
///
/// It is for what was trained with the artifact `ort-training`: docs/artifacts.md. `eval`, `predict`, `export`, `drift` and `convert` take the run.
#[derive(clap::Args)]
pub struct Args {
    /// The bundle that the artifact was made of
    bundle: PathBuf,
    /// The checkpoint, as `CheckpointState.save_checkpoint` writes it
    checkpoint: PathBuf,
    /// Folder for the run
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Replace the run that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    let (path, steps) = import_checkpoint(&bundle, &args.checkpoint, &args.output, args.force)?;
    let counted = steps.map_or(String::new(), |n| format!(", after {n} steps of the optimizer"));
    let text = format!("wrote       {}{counted}\nnext        spgraph export {} -o tuned.onnx\n", path.display(), path.display());
    output::print_done(&text, &path)
}
