//! What a cell leaves behind: one JSON file, whole or not at all.

use super::cell::{Cell, Request, Settings};
use crate::error::{Error, Result};
use crate::storage::files::{write_sealed_json, write_whole};
use crate::storage::{notices, regular, seal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Version of the record.
pub const FORMAT: u32 = 1;

/// No record is longer.
const MOST: u64 = 64 << 20;

/// How well a network tells images apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Images.
    pub images: usize,
    /// The share that is told right.
    pub accuracy: f64,
    /// Mean loss.
    pub loss: f64,
}

/// How much a layer's activations still say what the source network's did: over its channels, the quartiles of R².
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSimilarity {
    /// The activation's name in the model.
    pub layer: String,
    /// Channels that are not constant in either network.
    pub channels: usize,
    /// Lower quartile, median and upper quartile.
    pub quartiles: [f64; 3],
}

/// How far a layer's weights went, as a share of their own norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDrift {
    /// The parameter's alias.
    pub layer: String,
    /// ‖w − w⁰‖ / ‖w⁰‖.
    pub relative: f64,
}

/// How far the shared parameters went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Drift {
    /// ‖w − w⁰‖.
    pub total: f64,
    /// As a share of ‖w⁰‖.
    pub relative: f64,
    /// Share of elements that are exactly where they started.
    pub unmoved: f64,
    /// Each weight by itself; in final cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerDrift>,
}

/// How long it took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Times {
    /// The steps of training; of a run that another cell made, what that one took.
    pub training: f64,
    /// The whole cell.
    pub total: f64,
}

/// What a final cell measures beside its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceLeft {
    /// The source network on its own task.
    pub before: Score,
    /// Its classifier on the tuned features.
    pub after: Score,
}

/// The record of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Version of the record.
    pub format: u32,
    /// Version of spgraph.
    pub spgraph: String,
    /// Which cell; its settings are those that were used.
    pub cell: Cell,
    /// The settings.
    pub settings: Settings,
    /// Steps.
    pub steps: u64,
    /// On validation images in a cell of the selection, on test images in a final one.
    pub target: Score,
    /// In final cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceLeft>,
    /// From the starting point.
    pub drift: Drift,
    /// In final cells, on images of the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similarity: Vec<LayerSimilarity>,
    /// How long it took.
    pub seconds: Times,
    /// The runtime.
    pub engine: String,
    /// The processor's name, where the system tells it.
    pub processor: String,
    /// What went wrong with the training, where it did: a loss that is no number. It then counts as no answer right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The folder of the records.
pub fn folder(results: &Path) -> PathBuf {
    results.join("cells")
}

/// Where the records are that [`read_all`] reads: a folder, or a file.
pub fn source(results: &Path) -> PathBuf {
    let folder = folder(results);
    if folder.is_dir() { folder } else { results.to_path_buf() }
}

/// Where the record of a cell is.
pub fn path(results: &Path, request: &Request) -> PathBuf {
    folder(results).join(request.file())
}

/// Reads a record, and checks its hash; those of older versions have none.
pub fn read(path: &Path) -> Result<CellResult> {
    opened(path).map(|(record, _)| record)
}

/// A record, and whether it has a hash.
fn opened(path: &Path) -> Result<(CellResult, bool)> {
    let damaged =
        |why: String| Error::data(format!("{} is no result of a cell: {why}. Remove it, and the cell is run again", path.display()));
    let data = regular::read_at_most(path, MOST).map_err(Error::io("cannot read", path))?;
    let text = std::str::from_utf8(&data).map_err(|e| damaged(e.to_string()))?;
    let opened = seal::from_json(text).map_err(damaged)?;
    let found: CellResult = serde_json::from_str(&opened.text).map_err(|e| damaged(e.to_string()))?;
    if found.format != FORMAT {
        let why = format!("{} has format {}, this spgraph reads format {FORMAT}", path.display(), found.format);
        return Err(Error::data(format!("{why}. Remove it, and the cell is run again")));
    }
    Ok((found, opened.hash.is_some()))
}

/// Whether there is a record that can be read. One that cannot is as good as none: its cell is run again.
pub fn is_there(path: &Path) -> bool {
    path.is_file() && read(path).is_ok()
}

/// Writes a record. Another one of the same cell is the same, and is replaced.
pub fn write(path: &Path, result: &CellResult) -> Result<()> {
    let above = crate::storage::files::parent(path);
    std::fs::create_dir_all(above).map_err(Error::io("cannot create", above))?;
    write_sealed_json(path, true, result)
}

/// Every record of a folder of results, in the order of names; or of a file that [`write_collected`] wrote.
pub fn read_all(results: &Path) -> Result<Vec<CellResult>> {
    if results.is_file() {
        let text = regular::read_text(results, "cannot read")?;
        return serde_json::from_str(&text)
            .map_err(|e| Error::data(format!("{} holds no records of cells: {e}. Give a folder of results", results.display())));
    }
    let dir = source(results);
    let entries = std::fs::read_dir(&dir).map_err(Error::io("cannot list", &dir))?;
    let failed = |e| Error::io("cannot list", &dir)(e);
    let mut paths: Vec<PathBuf> = entries.map(|e| Ok(e.map_err(failed)?.path())).collect::<Result<_>>()?;
    paths.retain(|p| p.extension().is_some_and(|e| e == "json") && !p.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')));
    paths.sort();
    let found: Vec<(CellResult, bool)> = paths.iter().map(|p| opened(p)).collect::<Result<_>>()?;
    let plain = found.iter().filter(|(_, has_hash)| !has_hash).count();
    if plain > 0 {
        notices::leave(format!(
            "{plain} of {} records in {} have no hash, as those of older versions: damage to them would not be noticed",
            found.len(),
            dir.display()
        ));
    }
    if found.is_empty() {
        return Err(Error::data(format!("{} holds no results of cells: run some first (`spgraph sweep STUDY`)", results.display())));
    }
    Ok(found.into_iter().map(|(record, _)| record).collect())
}

/// Writes records into one file, a line for each, with numbers of six digits: to be kept beside a document.
pub fn write_collected(path: &Path, cells: &[CellResult]) -> Result<()> {
    let line = |cell: &CellResult| serde_json::to_value(cell).map(|mut value| (rounded(&mut value), value.to_string()).1);
    let lines: Vec<String> =
        cells.iter().map(line).collect::<Result<_, _>>().map_err(|e| Error::internal(format!("a record cannot be written: {e}")))?;
    write_whole(path, true, format!("[\n{}\n]\n", lines.join(",\n")).as_bytes())
}

fn rounded(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(rounded),
        Value::Object(map) => map.values_mut().for_each(rounded),
        Value::Number(number) if number.is_f64() => {
            let short = number.as_f64().and_then(|v| format!("{v:.5e}").parse::<f64>().ok()).and_then(serde_json::Number::from_f64);
            if let Some(short) = short {
                *number = short;
            }
        }
        _ => {}
    }
}
