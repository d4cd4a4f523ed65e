//! `metrics.jsonl` on the disk, and the files that say the same.

use super::metrics::Record;
use super::record_files::RecordFiles;
use crate::error::{Error, Result};
use crate::storage::regular;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file, open for more lines.
pub(super) struct Metrics {
    path: PathBuf,
    out: File,
    /// The same for others to read.
    beside: RecordFiles,
}

impl Metrics {
    /// Opens the file; lines after step `done` go, for those steps are done again. Gives the lines that stay.
    pub fn open(path: &Path, done: u64, validated: u64) -> Result<(Metrics, Vec<Record>)> {
        let lines = regular::read_present(path, "cannot read")?;
        // A process that was killed may have left half a line.
        let kept = lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice::<Record>(line).ok());
        let stays = |r: &Record| r.step() <= if matches!(r, Record::Validation(_)) { validated } else { done };
        let kept: Vec<Record> = kept.filter(stays).collect();
        let mut text = String::new();
        for record in &kept {
            text.push_str(&line(record)?);
        }
        crate::storage::files::write_whole(path, true, text.as_bytes())?;
        let file = regular::append(path).map_err(Error::io("cannot write", path))?;
        let beside = RecordFiles::open(crate::storage::files::parent(path), &kept)?;
        Ok((Metrics { path: path.to_path_buf(), out: file, beside }, kept))
    }

    /// Adds a line, at once on disk.
    pub fn push(&mut self, record: &Record) -> Result<()> {
        let line = line(record)?;
        self.out.write_all(line.as_bytes()).map_err(Error::io("cannot write", &self.path))?;
        self.beside.push(record)
    }
}

fn line(record: &Record) -> Result<String> {
    let mut text = serde_json::to_string(record).map_err(|e| Error::training(format!("cannot write metrics: {e}")))?;
    text.push('\n');
    Ok(text)
}
