//! `spgraph report`: the page of a run, or of a study's results.

use super::engine_args::EngineArgs;
use super::workers::Workers;
use super::{interrupt, output, progress, study as studies};
use spgraph::engine;
use spgraph::error::Error;
use spgraph::report::write_run_report;
use spgraph::storage::run_folder::RunFolder;
use spgraph::train::{Classifier, ClassifierOptions, EvaluationOptions, RunState, Subject, evaluate_folder};
use std::path::PathBuf;

/// Make the page of a run, or tables and figures of a study's results: Markdown, CSV, SVG and one HTML page
#[derive(clap::Args)]
#[command(after_help = "A study need not be complete: what is not run has no number.")]
pub struct Args {
    /// A run of `finetune`; or folders of results, or files of --collect, several for one report of them all
    #[arg(value_name = "RUN|RESULTS", required = true)]
    subjects: Vec<PathBuf>,
    /// Of results: only records of this study: where it was changed, a folder also holds those of before
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,
    /// Of results: folder for the report [default: RESULTS/report]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Of results: also write all records into one small file, which can be reported again
    #[arg(long, value_name = "FILE")]
    collect: Option<PathBuf>,
    /// Evaluate the run on these images, one sub-folder per class, and show that [default: the run's own validation]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let path = one(&args.subjects)?;
    let is_run = RunFolder::new(&path).is_run();
    match (is_run, &args.data) {
        (false, None) => {
            let Args { subjects: results, study, out, collect, .. } = args;
            return studies::report::run(studies::report::Args { results, study, out, collect });
        }
        (false, Some(_)) => return Err(Error::usage(format!("{} is no run: --data is for runs", path.display())).into()),
        (true, _) if args.out.is_some() || args.collect.is_some() || args.study.is_some() => {
            return Err(Error::usage("--study, --out and --collect are for results of a study; a run's page lies in its folder").into());
        }
        _ => {}
    }
    let other = match &args.data {
        None => None,
        Some(data) => {
            let subject = Subject::open(&path)?;
            let engine = engine::open(&args.engine.options())?;
            let best = RunFolder::new(&path).best().is_file();
            let which = if best { RunState::Best } else { RunState::Final };
            let mut classifier = Classifier::open(&subject, &ClassifierOptions { which, ..ClassifierOptions::default() }, engine.as_ref())?;
            let stop = interrupt::finish_the_step();
            let mut bar = progress::Counter::new("evaluating");
            let asked = EvaluationOptions { workers: args.workers.count(), ..EvaluationOptions::new(data.clone()) };
            let mut tell = |text: &str| output::note(&format!("note: {text}"));
            let found = evaluate_folder(&mut classifier, &asked, stop, &mut tell, &mut |done, all| bar.at(done as u64, all as u64));
            bar.finish();
            let weights = if best { "the weights that are the best on the validation images" } else { "the weights after the last step" };
            Some((found?, format!("{}, with {weights}", data.display())))
        }
    };
    output::print_written(&write_run_report(&path, other)?)
}

/// What decides whether it is a run or results: the first, since a run comes alone.
fn one(subjects: &[PathBuf]) -> Result<PathBuf, Error> {
    let run = subjects.iter().find(|s| RunFolder::new(s.as_path()).is_run());
    match (run, subjects) {
        (Some(run), [_, _, ..]) => {
            Err(Error::usage(format!("{} is a run, and a run's page is made by itself: give one at a time", run.display())))
        }
        (_, [first, ..]) => Ok(first.clone()),
        (_, []) => Err(Error::usage("name a run, or results of a study")),
    }
}
