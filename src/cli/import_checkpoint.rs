//! `spgraph import-checkpoint`: what ONNX Runtime's training API trained, as a run.

use super::output;
use spgraph::bundle::Bundle;
use spgraph::shell::word;
use spgraph::train::import_checkpoint;
use std::path::PathBuf;

/// Make a run of a checkpoint that ONNX Runtime's training API saved
///
/// It is for what was trained with the artifact `ort-training`: docs/artifacts.md. `eval`, `predict`, `export`, `drift` and `convert` take the run, and
/// `finetune --resume` goes on with it where the checkpoint has the state of the optimizer.
#[derive(clap::Args)]
pub struct Args {
    /// The bundle that the artifact was made of
    bundle: PathBuf,
    /// The checkpoint, as `CheckpointState.save_checkpoint` writes it
    checkpoint: PathBuf,
    /// Folder for the run
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Steps that it was trained, where the checkpoint does not say: training goes on with the image that comes then
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Replace the run that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let bundle = Bundle::open(&args.bundle)?;
    let run = import_checkpoint(&bundle, &args.checkpoint, &args.output, args.steps, args.force)?;
    let (path, word) = (run.path.display(), word(&run.path));
    let counted = run.steps.map_or(String::new(), |n| format!(", after {n} steps"));
    let longer = match run.ended {
        None => format!("longer      spgraph finetune --resume -o {word} --data FOLDER --epochs +5\n"),
        Some(why) => format!("note        it cannot be gone on with: {why}\n"),
    };
    let text = format!("wrote       {path}{counted}\nnext        spgraph export {word} -o tuned.onnx\n{longer}");
    output::print_done(&text, &run.path)
}
