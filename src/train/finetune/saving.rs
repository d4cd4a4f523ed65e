//! What a run writes besides its metrics: checkpoints, weights, and its results.

use super::Trainer;
use crate::bundle::manifest::Role;
use crate::bundle::start_state;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::train::checkpoint::{self, Checkpoint, not_finite};
use crate::train::distance::Distance;
use crate::train::metrics::StepRecord;
use crate::train::progress::Progress;
use crate::train::run::{Results, RunResult, Status};
use std::path::{Path, PathBuf};
use std::time::Instant;

impl Trainer {
    /// The error for numbers that are none.
    pub(super) fn diverged(&self, what: &str, lr: f64) -> Error {
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
        match not_finite(&self.prepared.bundle.manifest.state, &state)? {
            Some(name) => Err(self.diverged(&format!("`{name}` has values that are no numbers after step {}", self.at.step), self.lr())),
            None => Ok(state),
        }
    }

    pub(super) fn save_checkpoint(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let state = self.state()?;
        let path = self.folder.checkpoint();
        checkpoint::write(&path, &self.at, self.prepared.bundle.manifest.state.iter().zip(&state))?;
        self.saved = (self.at.step, Instant::now());
        progress.checkpoint(self.at.step, &path);
        Ok(())
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
                self.folder.path().display()
            )),
        }
    }

    /// Writes the model's part of the state: what evaluation and export need.
    pub(super) fn save_model(&self, path: PathBuf, state: &[Tensor]) -> Result<()> {
        let states = self.prepared.bundle.manifest.state.iter().zip(state);
        // Without what differs between a run that was interrupted and one that was not.
        let at = Checkpoint::new(self.at.step, self.at.epoch, self.at.seed);
        checkpoint::write(&path, &at, states.filter(|(s, _)| s.role != Role::Optimizer))
    }

    /// Writes the optimizer's part, with everything else that a continuation needs to know.
    fn save_optimizer(&self, state: &[Tensor]) -> Result<()> {
        let states = self.prepared.bundle.manifest.state.iter().zip(state);
        checkpoint::write(&self.folder.optimizer(), &self.at, states.filter(|(s, _)| s.role == Role::Optimizer))
    }

    pub(super) fn complete(&mut self, progress: &mut dyn Progress) -> Result<RunResult> {
        // The end of a run that is continued is in two files, which change one after the other.
        if self.folder.optimizer().is_file() && self.saved.0 < self.at.step {
            self.save_checkpoint(progress)?;
        }
        let state = self.state()?;
        let bundle = &self.prepared.bundle;
        self.save_model(self.folder.state(), &state)?;
        if self.prepared.keep_optimizer {
            self.save_optimizer(&state)?;
        }
        let distance = Distance::between(&bundle.manifest.state, &state, &start_state(bundle)?)?;
        let count = self.recent.len().max(1) as f64;
        let mean = |f: fn(&StepRecord) -> f64| self.recent.iter().map(f).sum::<f64>() / count;
        let seen: usize = self.recent.iter().map(|r| r.images).sum();
        let results = Results {
            steps: self.at.step,
            loss: mean(|r| r.loss),
            data_loss: mean(|r| r.data_loss),
            penalty: mean(|r| r.penalty),
            accuracy: self.recent.iter().map(|r| r.correct).sum::<u64>() as f64 / seen.max(1) as f64,
            best: self.at.best.clone(),
            seconds: self.seconds,
            images_per_second: self.images as f64 / self.seconds.max(1e-9),
            wait: self.wait / self.seconds.max(1e-9),
            distance,
        };
        self.record.status = Status::Complete;
        self.record.results = Some(results.clone());
        self.record.write(&self.folder)?;
        // The final state takes its place; it is as large as everything else together.
        let path = self.folder.checkpoint();
        remove(&path)?;
        if !self.prepared.keep_optimizer {
            remove(&self.folder.optimizer())?;
        }
        Ok(RunResult { path: self.folder.path().to_path_buf(), results })
    }
}

fn remove(path: &Path) -> Result<()> {
    if path.is_file() { std::fs::remove_file(path).map_err(Error::io("cannot remove", path)) } else { Ok(()) }
}
