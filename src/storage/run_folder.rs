//! What lies where in the folder of a run.

use std::path::{Path, PathBuf};

/// The file by which the folder of a run is recognised.
pub const RECORD: &str = "run.json";

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

    /// The state after the last step.
    pub fn state(&self) -> PathBuf {
        self.0.join("state.safetensors")
    }

    /// All of the state after some step, while the run is not complete.
    pub fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// The state that the validation liked best.
    pub fn best(&self) -> PathBuf {
        self.0.join("best.safetensors")
    }

    /// Whether a run is in it.
    pub fn is_run(&self) -> bool {
        self.record().is_file()
    }

    /// Whether its run left weights.
    pub fn has_weights(&self) -> bool {
        [self.state(), self.checkpoint(), self.best()].iter().any(|p| p.is_file())
    }
}
