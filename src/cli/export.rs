//! `spgraph export`: the tuned inference model.

use super::output;
use super::subject_args::{StateArg, say_state, usual_or};
use spgraph::train::{Subject, export_tuned};
use std::path::PathBuf;

/// Write the tuned model: the source's graph and names, with the new weights
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, or a bundle of `rewrite` (its starting point)
    subject: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which state of a run [default: best where it had validation images, else final]
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::open(&args.subject)?;
    say_state(&subject, args.state);
    let agreement = export_tuned(&subject, usual_or(args.state), &args.output, args.force)?;
    output::print_written(&args.output)?;
    output::print_agreement(&agreement)
}
