//! A run that goes on: from where, and how its length changes.
//!
//! A run keeps one learning rate over time for each length that it was asked to have. What was trained before the length changed followed the
//! schedule over the old length; what comes follows the schedule over the new one, as if that had been asked for from the start. [`Training::earlier`]
//! remembers the old lengths, so that the whole can be repeated bit for bit.

use super::checkpoint::{Checkpoint, Resumed, read_last, read_state};
use super::length::{Length, Stretch};
use super::options::Training;
use super::run::{RunRecord, Status};
use crate::bundle::manifest::{Manifest, Role};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::shell::word;
use crate::storage::run_folder::RunFolder;
use std::path::Path;

/// The state after the last step of a run that came to its end; `None` where it did not, or did not keep the optimizer's part.
fn finished(folder: &RunFolder, record: &RunRecord, manifest: &Manifest) -> Result<Option<(Checkpoint, Vec<Tensor>)>> {
    let (model, optimizer) = (folder.state(), folder.optimizer());
    if !(model.is_file() && optimizer.is_file()) {
        return Ok(None);
    }
    let (end, kept) = read_state(&model, manifest.kept_state())?;
    let (at, moments) = read_state(&optimizer, manifest.state.iter().filter(|s| s.role == Role::Optimizer))?;
    end.check_owner(&model, record)?;
    at.check_owner(&optimizer, record)?;
    // Of a continuation that was ended between the two.
    if end.step != at.step {
        return Ok(None);
    }
    let (mut kept, mut moments) = (kept.into_iter(), moments.into_iter());
    let of = |role: Role| if role == Role::Optimizer { moments.next() } else { kept.next() };
    let state: Option<Vec<Tensor>> = manifest.state.iter().map(|s| s.role).map(of).collect();
    Ok(state.map(|state| (at, state)))
}

/// Where a run that goes on stands: its last checkpoint that is whole, or its end.
pub(super) fn standing(folder: &RunFolder, record: &RunRecord, manifest: &Manifest) -> Result<Option<Resumed>> {
    let checkpoint = read_last(folder, record, &manifest.state)?;
    let end = finished(folder, record, manifest)?;
    let end = end.map(|(at, state)| Resumed { at, state, note: None });
    Ok(match (checkpoint, end) {
        (Some(checkpoint), Some(end)) => Some(if checkpoint.at.step > end.at.step { checkpoint } else { end }),
        (checkpoint, end) => checkpoint.or(end),
    })
}

/// The sum, in the unit that both have, or in steps.
fn sum(a: Length, b: Length, per_epoch: usize) -> Length {
    match (a, b) {
        (Length::Epochs(a), Length::Epochs(b)) => Length::Epochs(a.saturating_add(b)),
        _ => Length::Steps(a.steps(per_epoch).saturating_add(b.steps(per_epoch))),
    }
}

fn shown(length: Length) -> String {
    match length {
        Length::Auto => "as many epochs as its images ask for".into(),
        Length::Epochs(1) => "1 epoch".into(),
        Length::Epochs(n) => format!("{n} epochs"),
        Length::Steps(1) => "1 step".into(),
        Length::Steps(n) => format!("{n} steps"),
    }
}

/// A run as it was, and what is asked of it now.
pub(super) struct Asked<'a> {
    pub dir: &'a Path,
    pub before: &'a RunRecord,
    /// With its new length.
    pub training: &'a Training,
    /// So much more than it has.
    pub more: Option<Length>,
    /// Steps done.
    pub done: u64,
    pub per_epoch: usize,
    /// The full learning rate.
    pub lr: f64,
}

/// What is trained from here on, and where its length changes a sentence that says what becomes of the learning rate.
pub(super) fn continued(asked: &Asked) -> Result<(Training, Option<String>)> {
    let Asked { dir, before, training, more, done, per_epoch, lr } = *asked;
    let (old, complete) = (&before.training, before.status == Status::Complete);
    // Early stopping ends a run before its length.
    let reached = match old.length {
        length if !complete || length.steps(per_epoch) == done => length,
        Length::Epochs(_) if done.is_multiple_of(per_epoch as u64) => {
            done.checked_div(per_epoch as u64).map_or(Length::Steps(done), Length::Epochs)
        }
        _ => Length::Steps(done),
    };
    let length = more.map_or(training.length, |more| sum(reached, more, per_epoch));
    let total = length.steps(per_epoch);
    if total < done || (complete && total == done) {
        let state = if complete { "is complete with" } else { "has done" };
        let shown_dir = dir.display();
        return Err(Error::usage(format!(
            "the run {shown_dir} {state} {done} steps, so it cannot end after {total} ({} were asked). Ask for more, such as {} +5, or export what is there \
             with `spgraph export {} -o tuned.onnx`",
            shown(length),
            Field::EPOCHS,
            word(dir)
        )));
    }
    if length == old.length {
        return Ok((training.clone(), None));
    }
    let mut next = Training { length, ..training.clone() };
    if matches!((old.length, length), (Length::Epochs(_), Length::Steps(_)) | (Length::Steps(_), Length::Epochs(_))) {
        // The first phase is counted in the unit of the length.
        let head = old.head_steps(per_epoch);
        (next.head_first, next.length) = (head, Length::Steps(total));
    }
    let factor = |training: &Training, step: u64| training.lr_factor(step, training.total_at(step, per_epoch), per_epoch);
    next.earlier = old.earlier.clone();
    let same = (0..done).all(|step| factor(old, step) == factor(&next, step));
    // How an imported run was trained is not known.
    if !before.is_imported() && (!same || !done.is_multiple_of(per_epoch.max(1) as u64)) {
        next.earlier.push(Stretch { until: done, length: old.length });
    }
    let rate = |training: &Training, step: u64| lr * factor(training, step);
    let schedule = next.schedule.to_string();
    let known = done.checked_sub(1).filter(|_| !before.is_imported());
    let last = known.map_or(String::new(), |step| format!(", after {:.3e} in the last one", rate(old, step)));
    let note = format!(
        "the run is {} long now, where it was {}. From here on the learning rate follows the schedule ({schedule}) over the new length: {:.3e} in step {}{last}, and \
         {:.3e} in step {total}",
        shown(length),
        shown(old.length),
        rate(&next, done.min(total.saturating_sub(1))),
        done.saturating_add(1).min(total),
        rate(&next, total.saturating_sub(1)),
    );
    Ok((next, Some(note)))
}
