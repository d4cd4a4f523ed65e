//! Runs what is missing of a study on this machine, several cells at a time, each as a process of its own: what one does wrong, or the memory that
//! it takes, is not the others'.

use super::cell::Request;
use super::plan::CellPlan;
use super::results;
use super::workspace::remove_leftovers;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is told while it runs.
pub trait Watch {
    /// A cell is over; so many of all are done, and about so long is left.
    fn cell(&mut self, request: &Request, ok: bool, done: usize, of: usize, left: Duration);
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Cells of the study.
    pub cells: usize,
    /// Those that were there before.
    pub before: usize,
    /// Names of those that failed, and of those that could not be run since their selection failed.
    pub failed: Vec<String>,
}

/// How long to wait before looking at the processes again.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs the missing cells with up to `jobs` processes, which `start` begins.
///
/// Fails when `stop` is set, after the processes have ended.
pub fn sweep(
    plan: &CellPlan,
    out: &Path,
    jobs: usize,
    start: &mut dyn FnMut(&Request) -> Result<Child>,
    watch: &mut dyn Watch,
    stop: &AtomicBool,
) -> Result<Outcome> {
    remove_leftovers(out);
    let mut waiting: VecDeque<Waiting> = plan.missing(out).into_iter().map(|request| Waiting { request, needs: None }).collect();
    let before = plan.cells.len().saturating_sub(waiting.len());
    let (mut running, mut failed) = (Cells(vec![]), vec![]);
    let (begun, mut done, mut told) = (Instant::now(), 0usize, false);
    while !waiting.is_empty() || !running.0.is_empty() {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && !told {
            running.0.iter().for_each(|(_, child)| interrupt(child));
            told = true;
        }
        while !stopping && running.0.len() < jobs.max(1) {
            let Some(at) = waiting.iter_mut().position(|cell| cell.is_ready(out)) else { break };
            let Some(Waiting { request, .. }) = waiting.remove(at) else { break };
            running.0.push((request, start(request)?));
        }
        if running.0.is_empty() {
            // What is left waits for cells that failed.
            if !stopping {
                failed.extend(waiting.iter().map(|cell| cell.request.cell.name()));
            }
            break;
        }
        let mut ended = vec![];
        for (at, (request, child)) in running.0.iter_mut().enumerate() {
            if let Some(status) = child.try_wait().map_err(Error::io("cannot wait for a cell", out))? {
                ended.push((at, *request, status));
            }
        }
        // From the last on, so that places stay right.
        ended.iter().rev().for_each(|(at, ..)| drop(running.0.remove(*at)));
        for (_, request, status) in ended {
            done = done.saturating_add(1);
            let ok = finished(status, request, out);
            if !ok {
                failed.push(request.cell.name());
            }
            let each = begun.elapsed().as_secs_f64() / done as f64;
            let left = Duration::from_secs_f64(each * waiting.len().saturating_add(running.0.len()) as f64);
            watch.cell(request, ok, before.saturating_add(done), plan.cells.len(), left);
        }
        std::thread::sleep(PAUSE);
    }
    if stop.load(Ordering::Relaxed) {
        return Err(Error::Interrupted(format!(
            "stopped; {} of {} cells are done, the same command goes on",
            before.saturating_add(done),
            plan.cells.len()
        )));
    }
    Ok(Outcome { cells: plan.cells.len(), before, failed })
}

/// The processes of cells. None outlives the sweep, also where that ends with an error.
struct Cells<'a>(Vec<(&'a Request<'a>, Child)>);

impl Drop for Cells<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, child)| interrupt(child));
        for (_, child) in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Asks a cell to end, as Ctrl-C would; it leaves nothing behind.
fn interrupt(child: &Child) {
    #[cfg(unix)]
    {
        // One that has ended by itself meanwhile needs nothing.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT);
    }
    #[cfg(not(unix))]
    let _ = child;
}

fn finished(status: ExitStatus, request: &Request, out: &Path) -> bool {
    status.success() && results::is_there(&results::path(out, request))
}

/// A cell that is to be run.
struct Waiting<'a> {
    request: &'a Request<'a>,
    /// Records that its settings are chosen by and that nobody has seen yet, once somebody has looked for them.
    needs: Option<Vec<PathBuf>>,
}

impl Waiting<'_> {
    /// Whether everything is there that its settings are chosen by. What was there is not looked for again: many cells wait for the same long list.
    fn is_ready(&mut self, out: &Path) -> bool {
        let request = self.request;
        let needs = self.needs.get_or_insert_with(|| request.chosen_by().iter().rev().map(|r| results::path(out, r)).collect());
        while needs.last().is_some_and(|path| results::is_there(path)) {
            needs.pop();
        }
        needs.is_empty()
    }
}
