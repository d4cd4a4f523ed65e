//! `spgraph export`: the tuned inference model.

use super::output;
use super::subject_args::TunedModelArgs;
use spgraph::bundle::Deployment;
use spgraph::train::export_deployed;
use std::path::PathBuf;

/// Write the tuned model: the source's graph and names, with the new weights
///
/// docs/export.md says what the options add. Where a network comes from is in its metadata, `spgraph.provenance`.
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, or a bundle of `rewrite` (its starting point)
    subject: PathBuf,
    #[command(flatten)]
    tuned: TunedModelArgs,
    /// Give probabilities instead of scores
    #[arg(long, help_heading = "Deployment")]
    softmax: bool,
    /// Give the labels and scores of the K likeliest classes as two more outputs
    #[arg(long, value_name = "K", help_heading = "Deployment")]
    top: Option<usize>,
    /// Write the class names into the metadata `names` as well, where other tools read them
    #[arg(long, help_heading = "Deployment")]
    labels: bool,
    /// Take images as they are decoded: bytes, batch × height × width × RGB, of any size
    #[arg(long, help_heading = "Deployment")]
    preprocess: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let TunedModelArgs { output: file, weights, force } = &args.tuned;
    let subject = weights.open(&args.subject)?;
    weights.say_state(&subject);
    let asked = Deployment { preprocess: args.preprocess, softmax: args.softmax, labels: args.labels, top: args.top };
    let exported = export_deployed(&subject, weights.state(), &asked, file, *force)?;
    output::print_written(file)?;
    output::print_agreement(&exported.agreement)?;
    if !exported.left_out.is_empty() && !super::talk::quiet() {
        output::print(&format!(
            "left out    {}: the source's outputs behind the network are not in such an export\n",
            exported.left_out.join(", ")
        ))?;
    }
    match exported.pixels {
        Some(pixels) if !super::talk::quiet() => {
            output::print(&format!("preprocessing  within {pixels:.2} of 256 levels of spgraph's own, at every pixel of three images\n"))
        }
        _ => Ok(()),
    }
}
