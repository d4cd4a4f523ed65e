//! `spgraph finetune`: trains a bundle on an image folder. Each group of options is a file: its flags, and what they set in
//! [`Training`].

mod augment;
mod balance;
mod common;
mod data;
mod length;

use super::common_args::CommonArgs;
use super::engine_args::EngineArgs;
use super::output::percent;
use super::progress;
use super::talk::{self, Log};
use super::workers::Workers;
use super::{interrupt, output};
use spgraph::bundle::Bundle;
use spgraph::engine::{Device, EngineChoice, Kernels};
use spgraph::error::Error;
use spgraph::report::{self, write_run_report};
use spgraph::train::{Existing, FinetuneOptions, Run, RunRecord, RunResult, Training, finetune};
use std::path::PathBuf;

/// Fine-tune a bundle on an image folder
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C finishes the step, writes a checkpoint and exits with code 130; `spgraph finetune --resume -o RUN` goes \
    on from there and ends with the same weights as an uninterrupted run.")]
pub struct Args {
    /// The bundle of `spgraph rewrite`; not needed with --resume
    bundle: Option<PathBuf>,
    /// Folder for the run
    #[arg(short, long, value_name = "RUN")]
    output: PathBuf,
    /// Write a checkpoint after so many steps [default: at the end of an epoch, at most once a minute]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
    /// Keep no state of the optimizer at the end: the run takes less space, and cannot be continued
    #[arg(long)]
    discard_optimizer: bool,
    /// Replace the run that is there
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on with the run in RUN from its last checkpoint
    #[arg(long)]
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
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = options(&args)?;
    let stop = interrupt::finish_the_step();
    check_memory(&options, args.force_memory)?;
    let mut progress = progress::watcher();
    let result = finetune(&options, progress.as_mut(), stop)?;
    // The weights are there: a page that cannot be written is no reason to call the run failed.
    if let Err(error) = write_run_report(&result.path, None) {
        output::note(&format!("note: the run is complete, but its page is not: {error}. `spgraph report` writes it again"));
    }
    if talk::log() == Log::Jsonl { Ok(()) } else { output::print_done(&summary(&result), &result.path) }
}

/// Fails where a step would not fit into memory.
fn check_memory(options: &FinetuneOptions, force: bool) -> anyhow::Result<()> {
    // On other devices the prediction says nothing.
    if options.engine.device != Device::Cpu {
        return Ok(());
    }
    let bundle = Bundle::open(&options.bundle)?;
    let kernels = if options.engine.choice == EngineChoice::Tract { Kernels::Standard } else { options.engine.kernels };
    let batch = options.training.batch(&bundle.manifest)?;
    Ok(report::check_memory(&bundle, batch, kernels, force)?)
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
        let data = args.data.required()?;
        if args.length.more().is_some() {
            return Err(Error::usage("+N is so much more than a run has: give --resume and -o with that run, or a number without +").into());
        }
        (bundle, Training::new(data), args.engine.options())
    };
    args.data.set(&mut training)?;
    args.balance.set(&mut training)?;
    args.length.set(&mut training);
    common::set(&args.common, &mut training)?;
    args.augment.set(&mut training)?;
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
        cache: args.data.cache(),
        checkpoint_every: args.checkpoint_every,
        more: args.length.more(),
        keep_optimizer: !args.discard_optimizer,
        verify_data: args.verify_data,
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
         look at     {path}/report.html\n\
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
