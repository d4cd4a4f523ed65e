//! `spgraph eval`: what the answers of a run, a bundle or a model are worth on an image folder.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::result_files::{self, Place, Target};
use super::subject_args::{SubjectArgs, warn_if_assumed};
use super::workers::Workers;
use super::{interrupt, output, progress};
use spgraph::Field;
use spgraph::data::BadImages;
use spgraph::engine;
use spgraph::error::Error;
use spgraph::onnx;
use spgraph::report::{answers_csv, confusion_csv, confusion_plot, evaluation_text};
use spgraph::storage::files::OutputFile;
use spgraph::train::{Classifier, Evaluation, EvaluationOptions, evaluate_folder};
use std::path::{Path, PathBuf};

/// Measure accuracy, loss, precision, recall and calibration on an image folder
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
    /// Average the probabilities of ten views of each image: the corners and the middle of the resized image, and the same mirrored
    #[arg(long)]
    ten_crop: bool,
    /// Also tell how often the right class is among the first K
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: Option<u16>,
    /// All results as JSON, to stdout or into a file
    #[arg(long, value_name = "FILE|-", num_args = 0..=1, default_missing_value = "-", value_parser = result_files::json_target)]
    json: Option<Target>,
    /// A line for each image: class, prediction, probability, loss
    #[arg(long, value_name = "FILE|-", value_parser = result_files::csv_target)]
    csv: Option<Target>,
    /// The confusion matrix, as a table or as a plot
    #[arg(long, value_name = "FILE.csv|FILE.svg")]
    confusion: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    reading: SubjectArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Where the results go.
struct Places {
    json: Option<Place>,
    csv: Option<Place>,
    confusion: Option<Place>,
    plot: bool,
    /// Whether stdout is for people.
    text: bool,
}

impl Places {
    fn open(args: &Args) -> anyhow::Result<Places> {
        let taken = result_files::one_stdout(&[args.json.as_ref(), args.csv.as_ref()])?;
        let ending = args.confusion.as_ref().map(|p| p.extension().unwrap_or_default().to_ascii_lowercase());
        let plot = ending.as_ref().is_some_and(|e| e == "svg");
        if ending.is_some_and(|e| !plot && e != "csv") {
            return Err(Error::option(Field::CONFUSION, ": give a file whose name ends in .csv or .svg").into());
        }
        let create = |path: &PathBuf| Ok::<_, Error>(Place::File(Box::new(OutputFile::create(path, args.force)?)));
        Ok(Places {
            json: result_files::open(args.json.as_ref(), args.force)?,
            csv: result_files::open(args.csv.as_ref(), args.force)?,
            confusion: args.confusion.as_ref().map(create).transpose()?,
            plot,
            text: !taken,
        })
    }

    fn write(self, found: &Evaluation, engine: &str) -> anyhow::Result<()> {
        if let Some(place) = self.confusion {
            match self.plot {
                true => place.write(confusion_plot(found)?.svg()?.file().as_bytes())?,
                false => place.write(&confusion_csv(found)?)?,
            }
        }
        self.csv.map(|place| place.write(&answers_csv(found)?)).transpose()?;
        self.json.map(|place| place.write_json(found)).transpose()?;
        if self.text { output::print(&evaluation_text(found, engine)) } else { Ok(()) }
    }
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = args.reading.weights.open(&args.subject)?;
    let targets = [args.json.as_ref(), args.csv.as_ref()].into_iter().flatten().filter_map(Target::path);
    let targets: Vec<&Path> = targets.chain(args.confusion.as_deref()).collect();
    if !targets.is_empty() {
        let heads = args.head_from.iter().flat_map(|path| onnx::files_of(path));
        let inputs = subject.inputs().with(args.reading.files()).with(heads).with_data([&args.data]);
        targets.into_iter().try_for_each(|path| inputs.check_file(path))?;
    }
    args.reading.weights.say_state(&subject);
    let options = args.reading.options(args.head_from.clone())?;
    let places = Places::open(&args)?;
    let engine = engine::open(&args.engine.options())?;
    let mut classifier = Classifier::open(&subject, &options, engine.as_ref())?;
    warn_if_assumed(&classifier);
    let stop = interrupt::finish_the_step();
    let mut bar = progress::Counter::new("evaluating");
    let mut tell = |text: &str| output::note(&format!("note: {text}"));
    let mut count = |done: usize, total: usize| bar.at(done as u64, total as u64);
    let asked = EvaluationOptions {
        batch: options.batch,
        workers: args.workers.count(),
        bad_images: args.on_bad_image,
        ten_crop: args.ten_crop,
        top: args.top.map(usize::from),
        ..EvaluationOptions::new(args.data.clone())
    };
    let found = evaluate_folder(&mut classifier, &asked, stop, &mut tell, &mut count);
    bar.finish();
    places.write(&found?, &engine.describe())
}
