//! A run that ONNX Runtime's training API trained, from the checkpoint that it saved: evaluation and export take it as they take any other.

use super::checkpoint::{self, Checkpoint};
use super::length::Length;
use super::options::Training;
use super::run::{BundleReference, Images, Notes, RunRecord, Status, fingerprint};
use super::run_bundle;
use crate::artifact::{OrtCheckpoint, Trained, state_of};
use crate::bundle::manifest::Role;
use crate::bundle::{Bundle, start_state};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::files::{write_sealed_json, write_whole};
use crate::storage::folders::OutputDir;
use crate::storage::inputs::Inputs;
use crate::storage::run_folder::{RECORD, RunFolder};
use crate::storage::tensor_file;
use std::path::{Path, PathBuf};

/// A run that was made of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedRun {
    /// Its folder.
    pub path: PathBuf,
    /// The steps that it was trained, where that is known.
    pub steps: Option<u64>,
    /// Why it cannot be gone on with, where that is so.
    pub ended: Option<&'static str>,
}

/// Makes a run of the checkpoint at `path`, which was trained with the artifact `ort-training` of `bundle`, in the new folder `output`. `steps` is how many it was
/// trained, where the checkpoint does not say. Fails, and writes nothing, where the checkpoint is one of another model.
pub fn import_checkpoint(bundle: &Bundle, path: &Path, output: &Path, steps: Option<u64>, force: bool) -> Result<ImportedRun> {
    Inputs::new([&bundle.dir, &path.to_path_buf()]).check_folder(output)?;
    let out = OutputDir::create_marked(output, force, RECORD)?;
    let states = &bundle.manifest.state;
    let Trained { state, steps: counted, optimizer } = state_of(&OrtCheckpoint::read(path)?, &bundle.manifest, &start_state(bundle)?)?;
    let counted = counted.and_then(|n| u64::try_from(n).ok());
    if let (Some(counted), Some(asked)) = (counted, steps)
        && counted != asked
    {
        return Err(Error::option(
            Field::STEPS,
            format!(" {asked} is not what the checkpoint says: its optimizer has done {counted} steps"),
        ));
    }
    let steps = counted.or(steps);
    let ended = match (optimizer, steps) {
        (false, _) => Some("the checkpoint was saved without the state of its optimizer (`include_optimizer_state=True` saves it)"),
        (true, None) => Some("the checkpoint does not say how many steps it was trained"),
        _ => None,
    };
    let folder = RunFolder::new(out.path());
    run_bundle::keep(bundle, &folder.bundle())?;
    write_sealed_json(&folder.manifest(), true, &bundle.manifest)?;
    let at = Checkpoint { bundle: Some(fingerprint(bundle)?), ..Checkpoint::new(steps.unwrap_or(0), 1, 0) };
    let kept = states.iter().zip(&state).filter(|(s, _)| s.role != Role::Optimizer);
    checkpoint::write(&folder.state(), &at, kept)?;
    if ended.is_none() {
        let moments = states.iter().zip(&state).filter(|(s, _)| s.role == Role::Optimizer);
        checkpoint::write(&folder.optimizer(), &at, moments)?;
    }
    write_whole(&folder.metrics(), true, b"")?;
    let said = format!(
        "trained by ONNX Runtime's training API and imported from {}: spgraph knows neither its images nor its losses up to there",
        path.display()
    );
    write_sealed_json(&folder.notes(), true, &Notes { notes: vec![said] })?;
    let images = Images {
        training: 0,
        validation: 0,
        test: 0,
        skipped: 0,
        sha256: String::new(),
        stamps: None,
        contents: None,
        test_contents: None,
    };
    let length = steps.filter(|n| *n > 0).map_or(Length::Auto, Length::Steps);
    let training = Training { length, ..Training::default() };
    let engine = "ONNX Runtime's training API".to_string();
    let mut record = RunRecord::new(BundleReference::to(bundle)?, engine, EngineOptions::default(), training, images);
    record.status = Status::Complete;
    for file in [folder.state(), folder.optimizer()].iter().filter(|f| f.is_file()) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
        record.files.extend(name.zip(tensor_file::stated_hash(file)?));
    }
    record.write(&folder)?;
    Ok(ImportedRun { path: out.commit()?, steps, ended })
}
