//! How far a run came, what it gave, and how it can go on.

use super::files::{FileState, differences, problems};
use super::verdict::Verdict;
use crate::bundle::manifest::Manifest;
use crate::error::Result;
use crate::storage::run_folder::RunFolder;
use crate::train::in_training::in_training;
use crate::train::{Best, Results, Run, RunImages, RunRecord, Status, Training, read_state};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Everything that `spgraph inspect` shows of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunInspection {
    /// The folder.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// The version of spgraph that trained.
    pub spgraph: String,
    /// How far it came; `running` is also a run that was killed.
    pub status: Status,
    /// The engine, for people.
    pub engine: String,
    /// The folder of training images.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub data: PathBuf,
    /// How the options of the training differ from the usual ones.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// Images that it trains on.
    pub images: RunImages,
    /// Class names by label.
    pub classes: Vec<String>,
    /// The bundle that it needs, where it was found.
    #[serde(serialize_with = "crate::storage::path_text::shown_if_any")]
    pub bundle: Option<PathBuf>,
    /// The step that it came to: the last one, or that of the checkpoint.
    pub step: Option<u64>,
    /// The best validation.
    pub best: Option<Best>,
    /// What came out, of a complete run.
    pub results: Option<Results>,
    /// Whether the run can be gone on with from a checkpoint.
    pub resumable: bool,
    /// The files.
    pub files: Vec<FileState>,
    /// Whether its weights can be used.
    pub verdict: Verdict,
}

/// Looks at the run in `path`. Fails where there is none, or its record cannot be read; what is damaged or missing is described.
pub fn inspect_run(path: &Path) -> Result<RunInspection> {
    let (folder, record) = (RunFolder::new(path), RunRecord::read(path)?);
    let opened = Run::open(path);
    let own = Manifest::read(&folder.manifest());
    let mut files =
        vec![FileState::of(&folder.record(), |_| Ok(())), FileState::of(&folder.manifest(), |path| Manifest::read(path).map(drop))];
    let mut checkpoint = None;
    for (file, whole) in [(folder.state(), false), (folder.best(), false), (folder.checkpoint(), true)] {
        let expected = file == folder.state() && record.status == Status::Complete;
        if !file.exists() && !expected {
            continue;
        }
        files.push(FileState::of(&file, |path| {
            let manifest = Manifest::read(&folder.manifest())?;
            let states = manifest.state.iter().filter(|s| whole || s.role != crate::bundle::manifest::Role::Optimizer);
            let (at, _) = read_state(path, states)?;
            checkpoint = whole.then_some(at).or(checkpoint.take());
            Ok(())
        }));
    }
    if folder.metrics().exists() {
        files.push(FileState::of(&folder.metrics(), |_| Ok(())));
    }
    let usable = |name: PathBuf| files.iter().any(|f| name.ends_with(&f.name) && f.problem.is_none());
    let weights = usable(folder.state()) || usable(folder.best()) || usable(folder.checkpoint());
    let mut reasons = problems(&files);
    reasons.extend(opened.as_ref().err().map(|e| e.to_string()));
    let training = in_training(&folder);
    if !weights && reasons.is_empty() {
        reasons.push(match training {
            Some(_) => "it has no weights yet".into(),
            None => "it has left no weights: it did not come to a checkpoint".into(),
        });
    }
    let resumable = training.is_none() && checkpoint.is_some() && record.status != Status::Complete && opened.is_ok();
    let mut verdict = if reasons.is_empty() { Verdict::yes() } else { Verdict::no(reasons) };
    verdict.notes.extend(training.map(|training| format!("it is {training}")));
    let best = record.results.as_ref().and_then(|r| r.best.clone());
    Ok(RunInspection {
        path: path.to_path_buf(),
        spgraph: record.spgraph,
        status: record.status,
        engine: record.engine,
        options: differences(&record.training, &Training::new(&record.training.data)),
        data: record.training.data,
        images: record.images,
        classes: own.map(|m| m.classes).unwrap_or_default(),
        bundle: opened.ok().map(|run| run.bundle.dir),
        step: record.results.as_ref().map(|r| r.steps).or(checkpoint.as_ref().map(|c| c.step)),
        best: best.or(checkpoint.and_then(|c| c.best)),
        results: record.results,
        resumable,
        files,
        verdict,
    })
}
