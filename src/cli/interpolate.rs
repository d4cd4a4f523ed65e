//! `spgraph interpolate`: a model between the starting point and the tuned weights.

use super::output;
use super::subject_args::TunedModelArgs;
use spgraph::train::export_interpolated;
use std::path::PathBuf;

/// Write a model between the starting point and the tuned weights (WiSE-FT)
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, or a bundle with --weights
    run: PathBuf,
    /// From 0, the starting point, to 1, the tuned weights. A new head stays as it was trained
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    to: f64,
    #[command(flatten)]
    tuned: TunedModelArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let TunedModelArgs { output: file, weights, force } = &args.tuned;
    let subject = weights.open(&args.run)?;
    weights.say_state(&subject);
    let agreement = export_interpolated(&subject, weights.state(), args.to, file, *force)?;
    output::print_written(file)?;
    output::print_agreement(&agreement)
}
