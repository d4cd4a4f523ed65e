//! `spgraph finetune`: trains a bundle on an image folder.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::numbers::{RegularizerArg, StrengthArg, parse_regularizer, parse_strength};
use super::output::percent;
use super::progress::{self, Log};
use super::subject_args::class_names;
use super::workers::Workers;
use super::{interrupt, output};
use spgraph::bundle::Setting;
use spgraph::data::{Augment, BadImages};
use spgraph::error::Error;
use spgraph::train::{Existing, FinetuneOptions, Length, Run, RunRecord, RunResult, Schedule, Training, Validation, finetune};
use std::path::PathBuf;

/// Fine-tune a bundle on an image folder
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C finishes the step, writes a checkpoint and exits with code 130; `spgraph finetune --resume -o RUN` goes \
    on from there and ends with the same weights as an uninterrupted run.")]
pub struct Args {
    /// The bundle of `spgraph rewrite`; not needed with --resume
    bundle: Option<PathBuf>,
    /// Image folder with one sub-folder per class
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Folder for the run
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// Passes over the images
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u64>,
    /// Training steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Train the new head alone for the first N epochs (or steps, with --steps), then everything
    #[arg(long, value_name = "N")]
    head_first: Option<u64>,
    /// Learning rate [default: the bundle's]
    #[arg(long, allow_negative_numbers = true)]
    lr: Option<f64>,
    /// Strength of the penalty on parameters with a starting point, or with PATTERN=STRENGTH of a pattern that was given to
    /// `spgraph rewrite` with a strength of its own (repeatable) [default: the bundle's]
    #[arg(long, allow_negative_numbers = true, value_name = "[PATTERN=]STRENGTH", value_parser = parse_strength)]
    alpha: Vec<StrengthArg>,
    /// Strength of the penalty on a new head's parameters [default: the bundle's]
    #[arg(long, allow_negative_numbers = true)]
    beta: Option<f64>,
    /// Strength of a regularizer of the bundle (repeatable) [default: the bundle's]
    #[arg(long, value_name = "KIND=STRENGTH", value_parser = parse_regularizer)]
    regularizer: Vec<RegularizerArg>,
    /// Learning rate over time; step is a tenth after two thirds of the steps [default: step]
    #[arg(long, value_parser = choice::<Schedule>(&["constant", "step", "cosine"]))]
    schedule: Option<Schedule>,
    /// Random changes to images: none, flip-crop[:PAD] or resized-crop[:SCALE] [default: none]
    #[arg(long, value_name = "RECIPE", value_parser = parse_augment)]
    augment: Option<Augment>,
    /// Random brightness, contrast and saturation
    #[arg(long, value_name = "STRENGTH", num_args = 0..=1, default_missing_value = "0.25", allow_negative_numbers = true)]
    color: Option<f32>,
    /// Decides the order of the images, their changes and the split [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Images per step where the bundle leaves it open [default: 32]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Image folder for validation after every epoch
    #[arg(long, value_name = "FOLDER", conflicts_with = "val_split")]
    val_data: Option<PathBuf>,
    /// Hold out this fraction of every class for validation
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    val_split: Option<f64>,
    /// File with the class names by label: one on each line, or a list or object in JSON [default: the bundle's]
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// What becomes of images that cannot be read, which is found out before the first step: the first one is an error, or they are left out
    /// and counted [default: refuse]
    #[arg(long, value_parser = choice::<BadImages>(&["refuse", "skip"]))]
    on_bad_image: Option<BadImages>,
    /// Write a checkpoint after so many steps [default: at the end of an epoch, at most once a minute]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Replace the run that is there
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on with the run in RUN from its last checkpoint
    #[arg(long)]
    resume: bool,
    /// Progress on stderr as a bar or as lines, or every record as a JSON line on stdout
    #[arg(long, value_enum, default_value = "auto")]
    log: Log,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    engine: EngineArgs,
}

fn parse_augment(text: &str) -> Result<Augment, String> {
    text.parse().map_err(|e: Error| e.to_string())
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = options(&args)?;
    let stop = interrupt::finish_the_step();
    let mut progress = progress::watcher(args.log);
    let result = finetune(&options, progress.as_mut(), stop)?;
    if matches!(args.log, Log::Jsonl) { Ok(()) } else { output::print(&summary(&result)) }
}

/// From the arguments; what a resumed run's arguments leave out is as it was.
fn options(args: &Args) -> anyhow::Result<FinetuneOptions> {
    let (bundle, mut training, engine) = if args.resume {
        let record = RunRecord::read(&args.output)?;
        let bundle = match &args.bundle {
            Some(dir) => dir.clone(),
            None => Run::open(&args.output)?.bundle.dir,
        };
        (bundle, record.training, args.engine.options_over(record.engine_options))
    } else {
        let bundle = args.bundle.clone().ok_or_else(|| Error::usage("give the bundle to train, a folder that `spgraph rewrite` wrote"))?;
        let data = args
            .data
            .clone()
            .ok_or_else(|| Error::usage("--data is missing: give the folder of training images, with one sub-folder per class"))?;
        if args.epochs.is_none() && args.steps.is_none() {
            return Err(Error::usage("how long to train is missing: give --epochs, or --steps").into());
        }
        (bundle, Training::new(data), args.engine.options())
    };
    if let Some(data) = &args.data {
        training.data = std::path::absolute(data).map_err(Error::io("cannot find", data))?;
    }
    if args.class_names.is_some() {
        training.classes = class_names(args.class_names.as_deref())?;
    }
    training.bad_images = args.on_bad_image.unwrap_or(training.bad_images);
    let length = args.epochs.map(Length::Epochs).or(args.steps.map(Length::Steps));
    training.length = length.unwrap_or(training.length);
    training.head_first = args.head_first.unwrap_or(training.head_first);
    for StrengthArg { pattern, value } in &args.alpha {
        training.scalars.insert(pattern.clone().map_or(Setting::Alpha, Setting::AlphaOf), *value);
    }
    for RegularizerArg { kind, strength } in &args.regularizer {
        let value = strength.ok_or_else(|| {
            Error::usage(format!("--regularizer {kind}: give its strength, such as {kind}=0.1; `spgraph rewrite` chooses regularizers"))
        })?;
        training.scalars.insert(Setting::Regularizer(spgraph::loss::find(kind)?.kind().into()), value);
    }
    for (setting, value) in [(Setting::LearningRate, args.lr), (Setting::Beta, args.beta)] {
        if let Some(value) = value {
            training.scalars.insert(setting, value);
        }
    }
    training.schedule = args.schedule.unwrap_or(training.schedule);
    training.augment = args.augment.unwrap_or(training.augment);
    if let Some(strength) = args.color {
        if !(0.0..1.0).contains(&strength) {
            return Err(Error::usage(format!("--color {strength} is not at least 0 and below 1")).into());
        }
        training.augment.color = strength;
    }
    training.seed = args.seed.unwrap_or(training.seed);
    training.batch = args.batch.or(training.batch);
    let folder = args.val_data.clone().map(Validation::Folder);
    training.validation = folder.or(args.val_split.map(Validation::Split)).unwrap_or(training.validation);
    Ok(FinetuneOptions {
        bundle,
        output: args.output.clone(),
        existing: match (args.resume, args.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        },
        engine,
        workers: args.workers.count(),
        checkpoint_every: args.checkpoint_every,
        training,
    })
}

fn summary(result: &RunResult) -> String {
    let r = &result.results;
    let path = result.path.display();
    let best = r
        .best
        .as_ref()
        .map_or(String::new(), |b| format!("validation  best {} after step {} (--state best)\n", percent(b.accuracy), b.step));
    let still = &r.distance.unmoved;
    let unmoved = match still.elements {
        0 => String::new(),
        n => format!(
            "unmoved     {} of {} shared elements are exactly at their start, and {} of {} channels as a whole\n",
            n, still.of_elements, still.channels, still.of_channels
        ),
    };
    format!(
        "steps       {} in {:.1} s, {:.0} images/s, {:.1} % of it waiting for images\n\
         training    loss {:.4} (data {:.4}, penalty {:.4}), accuracy {} in the last epoch\n{best}\
         distance    {:.4} from the starting point ({} of its norm)\n{unmoved}\
         wrote       {path}\n\
         next        spgraph eval {path} --data FOLDER\n            spgraph export {path} -o tuned.onnx\n",
        r.steps,
        r.seconds,
        r.images_per_second,
        100.0 * r.wait,
        r.loss,
        r.data_loss,
        r.penalty,
        percent(r.accuracy),
        r.distance.total,
        percent(r.distance.relative),
    )
}
