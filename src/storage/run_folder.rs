//! What lies where in the folder of a run.

use super::beside::beside;
use crate::error::{Error, Result};
use crate::storage::exchange;
use crate::storage::lock::Lock;
use std::path::{Path, PathBuf};

/// The file by which the folder of a run is recognised.
pub const RECORD: &str = "run.json";

/// The folder of the bundle in the folder of a run.
pub const BUNDLE: &str = "bundle";

/// The folder of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder(PathBuf);

impl RunFolder {
    /// The run in `dir`, whether it is there yet or not.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        RunFolder(dir.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was asked, and what came out.
    pub fn record(&self) -> PathBuf {
        self.0.join(RECORD)
    }

    /// The bundle's manifest, with the classes of the images.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("manifest.json")
    }

    /// A line for each step and each validation.
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The steps of the test that found the learning rate.
    pub fn rates(&self) -> PathBuf {
        self.0.join("lr_find.csv")
    }

    /// The same as a picture.
    pub fn rates_plot(&self) -> PathBuf {
        self.0.join("lr_find.svg")
    }

    /// The state after the last step.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }

    /// All of the state after some step, while the run is not complete.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The checkpoint before the last, for the case that the last one is damaged.
    pub fn previous_checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.previous.safetensors")
    }

    /// The state that the validation liked best.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// The optimizer's part of the state after the last step, for a complete run that is continued.
    pub fn optimizer(&self) -> PathBuf {
        self.0.join("optimizer.safetensors")
    }

    /// What a run needs of its bundle, so that it stays whole when the bundle is moved or deleted.
    pub fn bundle(&self) -> PathBuf {
        self.0.join(BUNDLE)
    }

    /// Everything that was asked, defaults included, as a configuration that runs the same again.
    pub fn configuration(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The tuned model.
    pub fn tuned(&self) -> PathBuf {
        self.0.join("tuned.onnx")
    }

    /// What other commands read of it.
    pub fn files(&self) -> Vec<PathBuf> {
        let weights = [self.state(), self.checkpoint(), self.previous_checkpoint(), self.best(), self.optimizer()];
        let texts = [self.record(), self.manifest(), self.metrics(), self.configuration()];
        weights.into_iter().chain(texts).collect()
    }

    /// How good the best state is on the validation images.
    pub fn evaluation(&self) -> PathBuf {
        self.0.join("evaluation.json")
    }

    /// What was assumed, noticed or left out before the first step.
    pub fn notes(&self) -> PathBuf {
        self.0.join("notes.json")
    }

    /// A page to look at.
    pub fn report(&self) -> PathBuf {
        self.0.join("report.html")
    }

    /// What the evaluation on the test images gave, where there are any.
    pub fn test(&self) -> PathBuf {
        self.0.join("test.json")
    }

    /// Whether a run is in it.
    pub fn is_run(&self) -> bool {
        self.record().is_file()
    }

    /// Whether its run left weights.
    pub fn has_weights(&self) -> bool {
        [self.state(), self.checkpoint(), self.previous_checkpoint(), self.best()].iter().any(|p| p.is_file())
    }

    /// The file that one process at a time has a lock on.
    pub fn lock_path(&self) -> PathBuf {
        self.0.join("run.lock")
    }

    /// Keeps other processes from writing into the folder, which must exist. Fails where one does, and says which.
    pub fn lock(&self) -> Result<Lock> {
        let shown = self.0.display();
        Lock::take(&self.lock_path(), |who| {
            Error::usage(format!("the run {shown} is in use by {who}. Wait until that has ended, end it, or give another folder"))
        })
    }

    /// Where the run that had this name stays, until the one that replaces it has written weights.
    pub fn replaced(&self) -> RunFolder {
        RunFolder(beside(&self.0, "", ".replaced"))
    }

    /// Ends what a killed process had begun that was to replace a run: the old one is removed where the new one has weights, and gets its name back
    /// where it has none. Says what was done. Whoever calls holds the lock.
    pub fn settle(&self) -> Result<Option<String>> {
        let (old, shown) = (self.replaced(), self.0.display());
        if !old.is_run() {
            return Ok(None);
        }
        let failed = |e| Error::io("cannot bring back the run that was to be replaced,", old.path())(e);
        let there = self.0.exists();
        let back = match old.has_weights() {
            true if !there => std::fs::rename(old.path(), &self.0).map(|()| true),
            true if self.is_run() && !self.has_weights() => {
                exchange::exchange(old.path(), &self.0).and_then(|new| exchange::remove(&new)).map(|()| true)
            }
            _ => exchange::remove(old.path()).map(|()| false),
        };
        let text =
            format!("the run {shown} is the old one again: the one that was to replace it had been ended before it wrote any weights");
        Ok(back.map_err(failed)?.then_some(text))
    }
}
