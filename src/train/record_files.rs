//! The same numbers as in `metrics.jsonl` for others to read: `metrics.csv` for spreadsheets, and an event file for TensorBoard.

use super::events;
use super::metrics::Record;
use crate::error::{Error, Result};
use crate::storage::regular;
use crate::storage::run_folder::RunFolder;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The columns of the table. A record has a value in those that it knows.
const COLUMNS: [&str; 16] = [
    "kind",
    "step",
    "epoch",
    "lr",
    "loss",
    "data_loss",
    "penalty",
    "accuracy",
    "correct",
    "images",
    "seconds",
    "wait",
    "best",
    "distance",
    "mean_average_precision",
    "rmse",
];

/// Both files, open for more.
pub(super) struct RecordFiles {
    table: (PathBuf, File),
    events: (PathBuf, File),
    /// The time of the last event, in seconds since 1970: clocks are set back while a run goes on, and the time of an event may not go back.
    last: f64,
}

/// What a record says, by name: the fields of its line, and what follows from them.
fn fields(record: &Record) -> Result<serde_json::Map<String, Value>> {
    let failed = |e: serde_json::Error| Error::internal(format!("a record has no fields: {e}"));
    let Value::Object(mut fields) = serde_json::to_value(record).map_err(failed)? else { return Ok(serde_json::Map::new()) };
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    if let (None, Some(correct), Some(images)) = (number("accuracy"), number("correct"), number("images")) {
        fields.insert("accuracy".into(), (correct / images.max(1.0)).into());
    }
    // What validations are compared by, where that is not the accuracy: `{"rmse": 0.5}`.
    if let Some(Value::Object(measure)) = fields.remove("measure") {
        fields.extend(measure);
    }
    if let Some(Value::Object(distance)) = fields.get("distance") {
        let relative = distance.get("relative").cloned().unwrap_or_default();
        fields.insert("distance".into(), relative);
    }
    Ok(fields)
}

fn row(record: &Record) -> Result<String> {
    let fields = fields(record)?;
    let cell = |name: &&str| match fields.get(*name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    Ok(COLUMNS.iter().map(cell).collect::<Vec<_>>().join(",") + "\n")
}

/// What TensorBoard shows of a record, in groups by its kind.
fn event(record: &Record, time: f64) -> Result<Vec<u8>> {
    let fields = fields(record)?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let group = match text("kind") {
        "step" => "train",
        other => other,
    };
    let shown = ["loss", "data_loss", "penalty", "accuracy", "mean_average_precision", "rmse", "lr", "distance"];
    let values: Vec<(String, f64)> =
        shown.iter().filter_map(|name| Some((format!("{group}/{name}"), fields.get(*name)?.as_f64()?))).collect();
    let step = fields.get("step").and_then(Value::as_i64).unwrap_or(0);
    Ok(events::scalars(time, step, &values))
}

fn seconds(record: &Record) -> f64 {
    fields(record).ok().and_then(|f| f.get("seconds")?.as_f64()).unwrap_or(0.0)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn append(path: &Path) -> Result<File> {
    regular::append(path).map_err(Error::io("cannot write", path))
}

impl RecordFiles {
    /// Writes both files anew in `dir`, with the records that stay, and opens them. In TensorBoard's time those took as long as they took, and
    /// ended now.
    pub fn open(dir: &Path, kept: &[Record]) -> Result<RecordFiles> {
        let mut table = COLUMNS.join(",") + "\n";
        let last = now();
        let mut time = last - kept.iter().filter(|r| matches!(r, Record::Step(_) | Record::Validation(_))).map(seconds).sum::<f64>();
        let mut log = events::version(time);
        for record in kept {
            table.push_str(&row(record)?);
            if matches!(record, Record::Step(_) | Record::Validation(_)) {
                time += seconds(record);
            }
            log.extend(event(record, time)?);
        }
        let folder = RunFolder::new(dir);
        let write = |path: PathBuf, data: &[u8]| {
            crate::storage::files::write_whole(&path, true, data)?;
            let file = append(&path)?;
            Ok::<_, Error>((path, file))
        };
        // Sums are rounded: the next event is not before the last one of these.
        let last = last.max(time);
        Ok(RecordFiles { table: write(folder.table(), table.as_bytes())?, events: write(folder.events(), &log)?, last })
    }

    /// Adds a record to both.
    pub fn push(&mut self, record: &Record) -> Result<()> {
        let (table, events) = (&mut self.table, &mut self.events);
        self.last = self.last.max(now());
        table.1.write_all(row(record)?.as_bytes()).map_err(Error::io("cannot write", &table.0))?;
        events.1.write_all(&event(record, self.last)?).map_err(Error::io("cannot write", &events.0))
    }
}
