//! The page of a run: what came out, how it went there, where it is wrong, and what was decided. One file that needs nothing else.

mod curves;
mod outcome;
mod pictures;
mod settings;

use super::html::Page;
use crate::bundle::manifest::Manifest;
use crate::error::{Error, Result};
use crate::storage::files::write_whole;
use crate::storage::regular;
use crate::storage::run_folder::RunFolder;
use crate::storage::seal;
use crate::train::{Evaluation, Notes, RunRecord};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a run's folder says.
struct RunData {
    folder: RunFolder,
    record: RunRecord,
    manifest: Manifest,
    /// The lines of `metrics.jsonl`.
    lines: Vec<Value>,
    /// Of the best state on the validation images, or of another one on other images.
    evaluation: Option<Evaluation>,
    /// On the images that nothing was chosen by.
    tested: Option<Evaluation>,
    /// What `evaluation` is one of.
    evaluated: String,
    notes: Vec<String>,
}

impl RunData {
    fn read(dir: &Path) -> Result<RunData> {
        let folder = RunFolder::new(dir);
        let lines = regular::read_present(&folder.metrics(), "cannot read")?;
        Ok(RunData {
            record: RunRecord::read(dir)?,
            manifest: Manifest::read(&folder.manifest())?,
            // A process that was killed may have left half a line.
            lines: lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect(),
            evaluation: json(&folder.evaluation())?,
            tested: json(&folder.test())?,
            evaluated: "the validation images, with the weights that are the best on them".into(),
            notes: json::<Notes>(&folder.notes())?.unwrap_or_default().notes,
            folder,
        })
    }

    /// The lines of a kind.
    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| line["kind"] == kind)
    }

    fn name(&self) -> String {
        let path = self.folder.path();
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        full.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }
}

/// The value in a file, where there is one.
fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let damaged = |why: String| Error::model(format!("{} is damaged: {why}. Remove it", path.display()));
    if !path.exists() {
        return Ok(None);
    }
    let value = seal::read_json(path, "cannot read", damaged)?.value;
    serde_json::from_value(value).map(Some).map_err(|e| damaged(e.to_string()))
}

/// The page of the run in `dir`. `other` is an evaluation to show in the place of the run's own, and what it is one of.
pub fn run_report(dir: &Path, other: Option<(Evaluation, String)>) -> Result<String> {
    let mut run = RunData::read(dir)?;
    if let Some((found, what)) = other {
        (run.evaluation, run.evaluated) = (Some(found), what);
    }
    let mut page = Page::new(format!("Run {}", run.name()));
    page.lead(&outcome::headline(&run));
    page.section("Curves", curves::curves(&run)?);
    if let Some(found) = &run.evaluation {
        let whose = Page::paragraph(&format!("{} images: {}.", found.images, run.evaluated));
        if let Some(numbers) = &found.regression {
            page.section("Numbers", whose + &outcome::numbers(numbers));
            page.section("Worst images", pictures::readings(found));
        } else if found.several {
            page.section("Classes", whose + &outcome::several(found));
            page.section("Worst mistakes", pictures::readings(found));
        } else {
            page.section("Classes", whose + &outcome::classes(found)?);
            page.section("Confusion", outcome::confusion(found)?);
            page.section("Worst mistakes", pictures::mistakes(found));
            page.section("Calibration", outcome::calibration(found)?);
        }
    }
    if let Some(found) = &run.tested {
        page.section("Test images", outcome::tested(found)?);
    }
    page.section("Distance from the starting point", outcome::drift(&run)?);
    page.section("What was decided", settings::decisions(&run));
    page.section("Configuration", settings::configuration(&run));
    Ok(page.render())
}

/// Writes [`run_report`] into the run's folder, in the place of an older one.
pub fn write_run_report(dir: &Path, other: Option<(Evaluation, String)>) -> Result<PathBuf> {
    let path = RunFolder::new(dir).report();
    write_whole(&path, true, run_report(dir, other)?.as_bytes())?;
    Ok(path)
}
