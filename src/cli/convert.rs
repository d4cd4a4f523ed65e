//! `spgraph convert`: a bundle, or what a run has reached, as another artifact.

use super::choice::artifacts;
use super::subject_args::StateArg;
use super::{output, rewrite_text};
use spgraph::artifact::{self, Artifact};
use spgraph::error::Error;
use spgraph::train::{RunState, Subject, reached};
use std::path::PathBuf;

/// Make another artifact of a bundle, or of the state that a run has reached
///
/// docs/artifacts.md says what each kind is, and whom it is for. The source model is not needed.
#[derive(clap::Args)]
pub struct Args {
    /// A bundle of `rewrite`, or a run of `finetune`
    subject: PathBuf,
    /// What to make of it
    #[arg(long, value_name = "KIND", value_parser = artifacts())]
    to: &'static dyn Artifact,
    /// The new folder; artifacts that are one model also take a name with `.onnx`
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Which state of a run [default: that after its last step, or of its last checkpoint]
    #[arg(long, value_enum)]
    state: Option<StateArg>,
    /// Safetensors file with the weights that another runtime gave the bundle
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    weights: Option<PathBuf>,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::with_weights(&args.subject, args.weights.as_deref())?;
    let Some(bundle) = subject.bundle() else {
        let what = "is a model, neither a bundle nor a run: give it to `spgraph rewrite` with --artifact";
        return Err(Error::usage(format!("{} {what}", args.subject.display())).into());
    };
    let reached = reached(&subject, args.state.map(RunState::from))?;
    if !reached.optimizer {
        output::note("note: the optimizer begins anew: a run keeps its state at its end and in checkpoints, not for this state");
    }
    let (path, files) = artifact::convert(args.to, bundle, reached.state, &subject.inputs(), &args.output, args.force)?;
    args.to.notes(&bundle.manifest).iter().for_each(|note| output::note(&format!("note: {note}")));
    output::print_done(&rewrite_text::written(&path, &files), &path)
}
