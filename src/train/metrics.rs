//! `metrics.jsonl`: one line per step and per validation.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Learning rate.
    pub lr: f64,
    /// What is minimised: data loss and penalty.
    pub loss: f64,
    /// The mean over the batch.
    pub data_loss: f64,
    /// Penalty and regularizers, with their strengths.
    pub penalty: f64,
    /// Right answers in the batch, and its images.
    pub correct: u64,
    /// Images in the batch.
    pub images: usize,
    /// Time of the whole step, and how much of it was spent waiting for images.
    pub seconds: f64,
    /// Seconds of it spent waiting for images.
    pub wait: f64,
}

/// One pass over the validation images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Steps done.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Share of images told right.
    pub accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images of the validation.
    pub images: usize,
    /// Time of the pass.
    pub seconds: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A training step.
    Step(StepRecord),
    /// A validation.
    Validation(ValidationRecord),
}

impl Record {
    fn step(&self) -> u64 {
        match self {
            Record::Step(r) => r.step,
            Record::Validation(r) => r.step,
        }
    }
}

/// The file, open for more lines.
pub(super) struct Metrics {
    path: PathBuf,
    out: File,
}

impl Metrics {
    /// Opens the file; lines after step `done` go, for those steps are done again. Gives the lines that stay.
    pub fn open(path: &Path, done: u64, validated: u64) -> Result<(Metrics, Vec<Record>)> {
        let kept: Vec<Record> = match std::fs::read_to_string(path) {
            // A process that was killed may have left half a line.
            Ok(text) => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => vec![],
            Err(e) => return Err(Error::io("cannot read", path)(e)),
        };
        let stays = |r: &Record| r.step() <= if matches!(r, Record::Step(_)) { done } else { validated };
        let kept: Vec<Record> = kept.into_iter().filter(stays).collect();
        let mut text = String::new();
        for record in &kept {
            text.push_str(&line(record)?);
        }
        crate::storage::files::write_whole(path, true, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("cannot write", path))?;
        Ok((Metrics { path: path.to_path_buf(), out: file }, kept))
    }

    /// Adds a line, at once on disk.
    pub fn push(&mut self, record: &Record) -> Result<()> {
        let line = line(record)?;
        self.out.write_all(line.as_bytes()).map_err(Error::io("cannot write", &self.path))
    }
}

fn line(record: &Record) -> Result<String> {
    let mut text = serde_json::to_string(record).map_err(|e| Error::training(format!("cannot write metrics: {e}")))?;
    text.push('\n');
    Ok(text)
}
