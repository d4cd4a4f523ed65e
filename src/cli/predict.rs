//! `spgraph predict`: classes of single images.

use super::engine_args::EngineArgs;
use super::output;
use super::subject_args::{SubjectArgs, warn_if_assumed};
use spgraph::engine;
use spgraph::report::{Align, Table};
use spgraph::train::{Classifier, Subject, predict};
use std::path::PathBuf;

/// Classify images
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, a bundle of `rewrite`, or an ONNX model
    subject: PathBuf,
    /// Image files
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Classes to show for each image
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// Results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    weights: SubjectArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::open(&args.subject)?;
    let options = args.weights.options(None)?;
    let engine = engine::open(&args.engine.options())?;
    let mut classifier = Classifier::open(&subject, &options, engine.as_ref())?;
    warn_if_assumed(&classifier);
    let predictions = predict(&mut classifier, &args.images, args.top.into())?;
    if args.json {
        return output::print_json(&predictions);
    }
    let mut table = Table::new([("image", Align::Left), ("class", Align::Left), ("probability", Align::Right)]);
    for p in &predictions {
        for (i, g) in p.guesses.iter().enumerate() {
            let image = if i == 0 { p.image.display().to_string() } else { String::new() };
            table.row([image, g.class.clone(), format!("{:.4}", g.probability)]);
        }
    }
    output::print(&table.to_string())
}
