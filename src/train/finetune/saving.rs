//! What a run writes besides its metrics: checkpoints, weights, and its results.

use super::Trainer;
use super::writing::Writing;
use crate::bundle::manifest::{Role, State};
use crate::bundle::start_state;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::shell::word;
use crate::storage::run_folder::RunFolder;
use crate::storage::tensor_file;
use crate::train::checkpoint::{self, Checkpoint, not_finite};
use crate::train::distance::Distance;
use crate::train::metrics::Means;
use crate::train::progress::Progress;
use crate::train::run::{Results, RunResult, Status};
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Trainer {
    /// The error for numbers that are none.
    pub(super) fn diverged(&mut self, what: &str, lr: f64) -> Error {
        // The last one has to be whole before anything is said of it.
        if let Some(writing) = self.writing.take() {
            let _ = writing.end();
        }
        let path = self.folder.checkpoint();
        let kept = match path.is_file() {
            true => format!("The checkpoint of step {}, {}, is unharmed", self.saved.0, path.display()),
            false => "No checkpoint was written".into(),
        };
        Error::training(format!(
            "{what}, with a learning rate of {lr:e}. Lower {}; if that does not help, check that {} of `spgraph rewrite` are what the network \
             was trained with. {kept}",
            Field::LR,
            Field::PREPROCESSING
        ))
    }

    pub(super) fn lr(&self) -> f64 {
        self.recent.back().map_or(0.0, |r| r.lr)
    }

    /// The current state, all of it numbers.
    pub(super) fn state(&mut self) -> Result<Vec<Tensor>> {
        let state = self.step.state()?;
        match not_finite(&self.parts.bundle.manifest.state, &state)?.map(String::from) {
            Some(name) => Err(self.diverged(&format!("`{name}` has values that are no numbers after step {}", self.at.step), self.lr())),
            None => Ok(state),
        }
    }

    /// Begins to write a checkpoint; the training goes on meanwhile. One that is not whole yet is waited for.
    pub(super) fn begin_checkpoint(&mut self, progress: &mut dyn Progress) -> Result<()> {
        self.end_checkpoint(progress)?;
        let state = self.state()?;
        let bytes: usize = state.iter().map(|tensor| tensor.bytes().len()).sum();
        self.writing = Some(Writing::begin(&self.folder, &self.at, &self.parts.bundle.manifest.state, state)?);
        self.saved = (self.at.step, Instant::now());
        // What is written in no time is as well waited for.
        if bytes < Writing::WORTH { self.end_checkpoint(progress) } else { Ok(()) }
    }

    /// Waits until the checkpoint that was begun is whole.
    pub(super) fn end_checkpoint(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let Some(writing) = self.writing.take() else { return Ok(()) };
        let step = writing.step;
        writing.end()?;
        self.forget_replaced()?;
        progress.checkpoint(step, &self.folder.checkpoint());
        Ok(())
    }

    /// Writes a whole checkpoint.
    pub(super) fn save_checkpoint(&mut self, progress: &mut dyn Progress) -> Result<()> {
        self.begin_checkpoint(progress)?;
        self.end_checkpoint(progress)
    }

    /// Writes a checkpoint and says how to go on.
    pub(super) fn interrupted(&mut self, progress: &mut dyn Progress) -> Error {
        if self.at.step == 0 {
            return Error::Interrupted("stopped before the first step; there is nothing to resume".into());
        }
        match self.save_checkpoint(progress) {
            Err(error) => error,
            Ok(()) => Error::Interrupted(format!(
                "stopped after step {} of {}; the checkpoint is {}. To go on: spgraph finetune {} {} {}",
                self.at.step,
                self.total,
                self.folder.checkpoint().display(),
                Field::RESUME,
                Field::OUTPUT,
                word(self.folder.path())
            )),
        }
    }

    /// Writes the model's part of the state: what evaluation and export need.
    pub(super) fn save_model(&self, path: PathBuf, state: &[Tensor]) -> Result<()> {
        let states = self.parts.bundle.manifest.state.iter().zip(state);
        // Without what differs between a run that was interrupted and one that was not.
        let bundle = self.at.bundle.clone();
        let at = Checkpoint { bundle, ..Checkpoint::new(self.at.step, self.at.epoch, self.at.seed) };
        checkpoint::write(&path, &at, states.filter(|(s, _)| s.role != Role::Optimizer))
    }

    /// Writes the optimizer's part, with everything else that a continuation needs to know.
    fn save_optimizer(&self, state: &[Tensor]) -> Result<()> {
        let states = self.parts.bundle.manifest.state.iter().zip(state);
        let at = Checkpoint { run: None, ..self.at.clone() };
        checkpoint::write(&self.folder.optimizer(), &at, states.filter(|(s, _)| s.role == Role::Optimizer))
    }

    /// The run that this one replaces is not needed any more: this one has weights.
    pub(super) fn forget_replaced(&mut self) -> Result<()> {
        self.folder.forget_replaced()
    }

    /// Brings the run back that this one was to replace, where this one ends without weights. Says so.
    pub(super) fn give_back(&mut self) -> Option<String> {
        if self.folder.has_weights() {
            return None;
        }
        match self.folder.own_replaced() {
            Ok(old) => Some(bring_back(&old?, &self.folder)),
            Err(e) => Some(format!("the run that was there before stays in {} ({e})", self.folder.replaced().path().display())),
        }
    }

    /// How far the network is from its starting point that a run gives: the best one, where it is not the last.
    fn distance(&self, last: &[Tensor]) -> Result<Distance> {
        let bundle = &self.parts.bundle;
        let (states, start) = (&bundle.manifest.state, start_state(bundle)?);
        let best = self.folder.best();
        if self.at.best.as_ref().is_none_or(|best| best.step == self.at.step) || !best.is_file() {
            return Distance::between(states, last, &start);
        }
        let (shared, start): (Vec<State>, Vec<Tensor>) =
            states.iter().cloned().zip(start).filter(|(state, _)| state.role == Role::Shared).unzip();
        let (_, now) = checkpoint::read_state(&best, shared.iter())?;
        Distance::between(&shared, &now, &start)
    }

    pub(super) fn complete(&mut self, progress: &mut dyn Progress) -> Result<RunResult> {
        // The end of a run that is continued is in two files, which change one after the other.
        if self.folder.optimizer().is_file() && self.saved.0 < self.at.step {
            self.save_checkpoint(progress)?;
        }
        self.end_checkpoint(progress)?;
        let state = self.state()?;
        self.save_model(self.folder.state(), &state)?;
        if self.parts.keep_optimizer {
            self.save_optimizer(&state)?;
        }
        let distance = self.distance(&state)?;
        let means = Means::of(self.recent.iter());
        let results = Results {
            steps: self.at.step,
            skipped: self.skipped,
            loss: means.loss,
            data_loss: means.data_loss,
            penalty: means.penalty,
            accuracy: means.accuracy,
            best: self.at.best.clone(),
            ended_early: self.at.step < self.total,
            rise: self.watch.rise(),
            seconds: self.seconds,
            images_per_second: self.images as f64 / self.seconds.max(1e-9),
            wait: self.wait / self.seconds.max(1e-9),
            distance,
        };
        self.record.status = Status::Complete;
        self.record.results = Some(results.clone());
        self.record.files.clear();
        for path in [self.folder.state(), self.folder.best(), self.folder.optimizer()].into_iter().filter(|p| p.is_file()) {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            self.record.files.extend(tensor_file::stated_hash(&path)?.map(|hash| (name, hash)));
        }
        self.record.write(&self.folder)?;
        self.forget_replaced()?;
        // The final state takes their place; each is as large as everything else together.
        remove(&self.folder.checkpoint())?;
        remove(&self.folder.previous_checkpoint())?;
        if !self.parts.keep_optimizer {
            remove(&self.folder.optimizer())?;
        }
        Ok(RunResult { path: self.folder.path().to_path_buf(), results, test: self.parts.test.take() })
    }
}

/// Gives `old` the name `folder` again, in the place of the run that was to replace it. Says so.
pub(super) fn bring_back(old: &RunFolder, folder: &RunFolder) -> String {
    let shown = folder.path().display();
    match folder.bring_back(old) {
        Ok(()) => format!("{shown} is the run that was there before: the new one ended before it wrote any weights"),
        Err(e) => format!("the run that was in {shown} before is in {} ({e})", old.path().display()),
    }
}

fn remove(path: &Path) -> Result<()> {
    if path.is_file() { std::fs::remove_file(path).map_err(Error::io("cannot remove", path)) } else { Ok(()) }
}
