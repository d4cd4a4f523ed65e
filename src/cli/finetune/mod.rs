//! `spgraph finetune`: from a model or a bundle to a tuned model. Each group of options is a file: its flags, and what they set in
//! [`Configuration`].

mod augment;
mod balance;
mod common;
mod data;
mod length;
mod precision;
mod summary;

use super::common_args::{BatchArg, CommonArgs};
use super::engine_args::{RecordingArgs, RuntimeArgs};
use super::progress;
use super::rewriting::RewritingArgs;
use super::talk::{self, Log};
use super::workers::Workers;
use super::{flags, interrupt, output};
use spgraph::bundle::{Bundle, HeadOption};
use spgraph::engine::{Computing, Device, EngineChoice};
use spgraph::error::Error;
use spgraph::import::BatchSize;
use spgraph::report::{self, write_run_report};
use spgraph::shell::word;
use spgraph::storage::toml_file;
use spgraph::train::job::{self, Job};
use spgraph::train::{Configuration, Existing, FinetuneOptions, GivenImages};
use std::path::PathBuf;

/// Fine-tune a model, or a bundle of `spgraph rewrite`, on an image folder
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C finishes the step, writes a checkpoint and exits with code 130; `spgraph finetune --resume -o RUN` goes \
    on from there and ends with the same weights as an uninterrupted run. Every run has a config.toml with all that was asked, defaults included: \
    `spgraph finetune --config RUN/config.toml` runs it again.")]
pub struct Args {
    /// An ONNX model, which is rewritten first (with a new head for the classes of the images), or a bundle of `spgraph rewrite`, whose rewriting is decided;
    /// not needed with --resume or --config
    #[arg(value_name = "MODEL|BUNDLE")]
    subject: Option<PathBuf>,
    /// Folder for the run [default: a new one in runs/, called as the model and the images]
    #[arg(short = 'o', long = "out", value_name = "RUN")]
    out: Option<PathBuf>,
    /// What the run is called in runs/; with -2, -3, … behind where there is one
    #[arg(long, value_name = "NAME", conflicts_with = "out")]
    name: Option<String>,
    /// Take options from a TOML file, such as the config.toml of a run; flags go over it
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Write a checkpoint after so many steps [default: at the end of an epoch, at most once a minute]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Keep no state of the optimizer at the end: the run takes less space, and cannot be continued
    #[arg(long)]
    discard_optimizer: bool,
    /// Replace the run that is there
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on with the run in RUN: from its last checkpoint, or with --epochs +N from its end
    #[arg(long, requires = "out")]
    resume: bool,
    /// Train even where a step is predicted to take more memory than the machine has
    #[arg(long)]
    force_memory: bool,
    /// Note the contents of the images when the run begins, however many there are, and compare them when it goes on
    #[arg(long)]
    verify_data: bool,
    // Groups come last: what follows one would stand under its heading.
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    data: data::DataArgs,
    #[command(flatten)]
    balance: balance::BalanceArgs,
    #[command(flatten)]
    length: length::LengthArgs,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    augment: augment::AugmentArgs,
    #[command(flatten)]
    rewriting: RewritingArgs,
    #[command(flatten)]
    engine: RuntimeArgs,
    #[command(flatten)]
    recording: RecordingArgs,
    #[command(flatten)]
    precision: precision::PrecisionArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let job = Job {
        configuration: configuration(&args)?,
        output: args.out.clone(),
        existing: match (args.resume, args.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        },
        more: args.length.more(),
        images: GivenImages::default(),
    };
    let stop = interrupt::finish_the_step();
    let mut progress = progress::watcher();
    let result = job::run(&job, &|options, bundle| check_memory(options, bundle, args.force_memory), progress.as_mut(), stop)?;
    // The weights are there: a page that cannot be written is no reason to call the run failed.
    if let Err(error) = write_run_report(&result.run.path, None) {
        let run = word(&result.run.path);
        output::note(&format!("note: the run is complete, but its page is not: {error}. `spgraph report {run}` writes it"));
    }
    if talk::log() == Log::Jsonl { Ok(()) } else { output::print_done(&summary::text(&result), &result.run.path) }
}

/// Fails where a step would not fit into memory.
fn check_memory(options: &FinetuneOptions, bundle: &Bundle, force: bool) -> Result<(), Error> {
    if options.engine.device == Device::Cuda {
        let batch = options.training.batch(&bundle.manifest)?;
        return report::check_device_memory(bundle, batch, &options.engine, force);
    }
    let computing = if options.engine.choice == EngineChoice::Tract { Computing::STANDARD } else { options.engine.computing() };
    let batch = options.training.batch(&bundle.manifest)?;
    report::check_memory(bundle, batch, computing, force)
}

/// From the arguments; what they leave out is as in the configuration, or as it was in a run that goes on.
fn configuration(args: &Args) -> anyhow::Result<Configuration> {
    let mut asked = match (&args.config, &args.out) {
        (Some(file), _) => {
            let found = Configuration::read(file)?;
            flags::know_configuration(toml_file::said(file)?);
            found
        }
        (None, Some(dir)) if args.resume => Configuration::of_run(dir)?,
        _ => Configuration::default(),
    };
    if let Some(subject) = &args.subject {
        asked.set_subject(subject)?;
    }
    if let Some(name) = &args.name {
        asked.name = Some(name.clone());
    }
    asked.engine = args.engine.options_over(asked.engine);
    args.recording.set(&args.engine, &mut asked.engine)?;
    args.precision.set(&mut asked);
    asked.execution.workers = args.workers.given().unwrap_or(asked.execution.workers);
    asked.execution.checkpoint_every = args.checkpoint_every.or(asked.execution.checkpoint_every);
    asked.execution.cache = args.data.cache_over(asked.execution.cache);
    asked.execution.verify_data |= args.verify_data;
    asked.execution.keep_optimizer &= !args.discard_optimizer;
    if !args.resume {
        if asked.model.is_none() && asked.bundle.is_none() {
            return Err(Error::usage("give what to train: an ONNX model, or a bundle, a folder that `spgraph rewrite` wrote").into());
        }
        if asked.training.data.as_os_str().is_empty() {
            args.data.required(args.config.is_some())?;
        }
        if args.length.more().is_some() {
            return Err(Error::usage("+N is so much more than a run has: give --resume and -o with that run, or a number without +").into());
        }
    }
    args.data.set(&mut asked.training)?;
    args.balance.set(&mut asked.training)?;
    args.length.set(&mut asked.training);
    args.augment.set(&mut asked.training)?;
    match asked.model.is_some() {
        true => {
            args.rewriting.set(&args.common, &mut asked.rewriting)?;
            asked.head_given |= args.rewriting.head.given();
            if args.rewriting.head.head.is_some() {
                asked.rewriting.head = HeadOption::Keep;
            } else if !asked.head_given {
                // For the classes of the images, which are counted when they are looked at.
                asked.rewriting.head = HeadOption::Classes(0);
            }
            common::set_for_model(&args.common, &mut asked.training)?;
            if let (Some(model), Some(BatchArg::Auto)) = (&asked.model, args.common.batch) {
                asked.rewriting.batch = BatchSize::Fixed(report::fitting_batch(model, &asked.rewriting, asked.engine.computing())?);
            }
        }
        false => {
            args.rewriting.set(&CommonArgs::default(), &mut asked.rewriting)?;
            common::set(&args.common, &mut asked.training)?;
        }
    }
    Ok(asked)
}
