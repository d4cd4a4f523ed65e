//! `spgraph interpolate`: a model between the starting point and the tuned weights.

use super::output;
use super::subject_args::{StateArg, say_state, usual_or};
use spgraph::train::{Subject, export_interpolated};
use std::path::PathBuf;

/// Write a model between the starting point and the tuned weights (WiSE-FT)
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, or a bundle with --weights
    run: PathBuf,
    /// From 0, the starting point, to 1, the tuned weights. A new head stays as it was trained
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    to: f64,
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Safetensors file with the weights that another runtime gave the bundle
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Which state of a run [default: best where it had validation images, else final]
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::with_weights(&args.run, args.weights.as_deref())?;
    say_state(&subject, args.state);
    let agreement = export_interpolated(&subject, usual_or(args.state), args.to, &args.output, args.force)?;
    output::print_written(&args.output)?;
    output::print_agreement(&agreement)
}
