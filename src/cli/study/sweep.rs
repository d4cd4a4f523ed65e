//! `spgraph sweep`: what is missing of a study, on this machine.

use super::super::engine_args::{EngineArgs, RecordingArgs};
use super::super::{interrupt, output};
use super::cell::line;
use super::{Argument, StudyArgs};
use spgraph::error::{Error, Result};
use spgraph::evaluation::{CellPlan, Request, Watch, read, result_path, sweep};
use spgraph::shell::word;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Run the cells of a study that are missing, several at a time
#[derive(clap::Args)]
#[command(after_help = "Ctrl-C ends the cells that run; the same command goes on with what is missing.")]
pub struct Args {
    #[command(flatten)]
    study: StudyArgs,
    /// Cells at a time, each on --threads cores [default: as many as there are cores for]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    recording: RecordingArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let study = args.study.read()?;
    let plan = CellPlan::of(&study)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Small networks gain little from a second thread, and cells share nothing that a second one would wait for.
    let options = args.engine.options_with(&args.recording)?;
    let threads = options.threads.unwrap_or(1);
    let jobs = args.jobs.unwrap_or(cores.checked_div(threads).unwrap_or(cores).max(1));
    let missing = plan.missing(&args.study.out).len();
    output::note(&format!(
        "{} cells, {missing} to run, {jobs} at a time with {threads} thread{}",
        plan.cells.len(),
        if threads == 1 { "" } else { "s" }
    ));
    let program = std::env::current_exe().map_err(Error::io("cannot find", "this program"))?;
    let mut engine = args.engine.arguments(threads);
    engine.extend(options.cuda_graph.then(|| "--cuda-graph".into()));
    let mut start = |request: &Request| -> Result<Child> {
        let mut command = Command::new(&program);
        command
            .args(args.study.cell(&request.cell.name()).iter().map(Argument::given))
            .args(&engine)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        // Ctrl-C in a terminal is this process's to pass on, once.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn().map_err(Error::io("cannot start", &program))
    };
    let stop = interrupt::finish_the_step();
    let outcome = sweep(&plan, &args.study.out, jobs, &mut start, &mut Lines { out: args.study.out.clone() }, stop)?;
    let new = outcome.cells.saturating_sub(outcome.before).saturating_sub(outcome.failed.len());
    output::print(&format!("{} cells: {} there before, {new} run now, {} failed\n", outcome.cells, outcome.before, outcome.failed.len()))?;
    if !outcome.failed.is_empty() {
        let shown: Vec<&str> = outcome.failed.iter().take(5).map(String::as_str).collect();
        let more = outcome.failed.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(Error::training(format!(
            "cells failed, or could not be run since others did: {}{more}. `spgraph cell STUDY NAME` shows why",
            shown.join(", ")
        ))
        .into());
    }
    output::print(&format!("next  spgraph report {}\n", word(&args.study.out)))
}

struct Lines {
    out: PathBuf,
}

impl Watch for Lines {
    fn cell(&mut self, request: &Request, ok: bool, done: usize, of: usize, left: Duration) {
        let told = match read(&result_path(&self.out, request)) {
            Ok(result) if ok => line(&result).trim_end().to_string(),
            _ => format!("{}: did not end well", request.cell.name()),
        };
        let minutes = left.as_secs_f64() / 60.0;
        output::note(&format!("[{done}/{of}, about {minutes:.0} min left] {told}"));
    }
}
