//! What lies where in the folder of a run.

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

    /// Whether a run is in it.
    pub fn is_run(&self) -> bool {
        self.record().is_file()
    }

    /// Whether its run left weights.
    pub fn has_weights(&self) -> bool {
        [self.state(), self.checkpoint(), self.best()].iter().any(|p| p.is_file())
    }
}
