//! `spgraph eval`: accuracy and loss of a run, a bundle or a model on an image folder.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::output::percent;
use super::subject_args::{SubjectArgs, warn_if_assumed};
use super::workers::Workers;
use super::{interrupt, output, progress};
use spgraph::data::BadImages;
use spgraph::engine;
use spgraph::report::{Align, Table};
use spgraph::train::{Classifier, Evaluation, EvaluationOptions, Subject, evaluate_folder};
use std::path::PathBuf;

/// Measure accuracy and loss on an image folder
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, a bundle of `rewrite` (its starting point), or an ONNX model
    subject: PathBuf,
    /// Image folder with one sub-folder per class; of one that is divided into train, val and test, test is taken, else val
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// What becomes of images that cannot be read: the first one is an error, or they are left out and counted
    #[arg(long, value_parser = choice::<BadImages>(&["refuse", "skip"]), default_value = "refuse")]
    on_bad_image: BadImages,
    /// Evaluate the tuned network under this model's classifier: what it still knows of that model's task
    #[arg(long, value_name = "MODEL")]
    head_from: Option<PathBuf>,
    /// Results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    weights: SubjectArgs,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = Subject::open(&args.subject)?;
    let options = args.weights.options(args.head_from.clone())?;
    let engine = engine::open(&args.engine.options())?;
    let mut classifier = Classifier::open(&subject, &options, engine.as_ref())?;
    warn_if_assumed(&classifier);
    let stop = interrupt::finish_the_step();
    let mut bar = progress::Counter::new("evaluating");
    let mut tell = |text: &str| output::note(&format!("note: {text}"));
    let mut count = |done: usize, total: usize| bar.at(done as u64, total as u64);
    let asked =
        EvaluationOptions { data: args.data.clone(), batch: options.batch, workers: args.workers.count(), bad_images: args.on_bad_image };
    let found = evaluate_folder(&mut classifier, &asked, stop, &mut tell, &mut count);
    bar.finish();
    let found = found?;
    if args.json {
        return output::print_json(&found);
    }
    output::print(&text(&found, &engine.describe()))
}

fn text(found: &Evaluation, engine: &str) -> String {
    let mut table = Table::new([("class", Align::Left), ("images", Align::Right), ("correct", Align::Right), ("accuracy", Align::Right)]);
    for class in &found.classes {
        let share = if class.images == 0 { "-".into() } else { percent(class.correct as f64 / class.images as f64) };
        table.row([class.name.clone(), class.images.to_string(), class.correct.to_string(), share]);
    }
    let top5 = found.top5.map_or(String::new(), |t| format!(", {} among the first five", percent(t)));
    format!(
        "{table}\nimages    {}\naccuracy  {}{top5}\nloss      {:.4}, {}\nspeed     {:.0} images/s, {engine}\n",
        found.images,
        percent(found.accuracy),
        found.loss,
        found.loss_name,
        found.images as f64 / found.seconds.max(1e-9)
    )
}
