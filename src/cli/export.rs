//! `spgraph export`: the tuned inference model.

use super::output;
use super::subject_args::{StateArg, say_state, usual_or};
use spgraph::bundle::Deployment;
use spgraph::train::{Subject, export_deployed};
use std::path::PathBuf;

/// Write the tuned model: the source's graph and names, with the new weights
///
/// docs/export.md says what the options add. Where a network comes from is in its metadata, `spgraph.provenance`.
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, or a bundle of `rewrite` (its starting point)
    subject: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Safetensors file with the weights that another runtime gave the bundle
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Which state of a run [default: best where it had validation images, else final]
    #[arg(long, value_enum)]
    state: Option<StateArg>,
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
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::with_weights(&args.subject, args.weights.as_deref())?;
    say_state(&subject, args.state);
    let asked = Deployment { preprocess: args.preprocess, softmax: args.softmax, labels: args.labels, top: args.top };
    let exported = export_deployed(&subject, usual_or(args.state), &asked, &args.output, args.force)?;
    output::print_written(&args.output)?;
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
