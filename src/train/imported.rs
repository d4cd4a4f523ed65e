//! A run that ONNX Runtime's training API trained, from the checkpoint that it saved: evaluation and export take it as they take any other.

use super::checkpoint::{self, Checkpoint};
use super::options::Training;
use super::run::{BundleReference, Images, Notes, RunRecord, Status, fingerprint};
use super::run_bundle;
use crate::artifact::{OrtCheckpoint, state_of};
use crate::bundle::manifest::Role;
use crate::bundle::{Bundle, start_state};
use crate::engine::EngineOptions;
use crate::error::Result;
use crate::storage::files::{write_sealed_json, write_whole};
use crate::storage::folders::OutputDir;
use crate::storage::inputs::Inputs;
use crate::storage::run_folder::{RECORD, RunFolder};
use crate::storage::tensor_file;
use std::path::{Path, PathBuf};

/// Makes a run of the checkpoint at `path`, which was trained with the artifact `ort-training` of `bundle`, in the new folder `output`. Gives the folder, and how many
/// steps the optimizer counted, where it did. Fails, and writes nothing, where the checkpoint is one of another model.
pub fn import_checkpoint(bundle: &Bundle, path: &Path, output: &Path, force: bool) -> Result<(PathBuf, Option<u64>)> {
    Inputs::new([&bundle.dir, &path.to_path_buf()]).check_folder(output)?;
    let out = OutputDir::create_marked(output, force, RECORD)?;
    let states = &bundle.manifest.state;
    let (state, steps) = state_of(&OrtCheckpoint::read(path)?, &bundle.manifest, &start_state(bundle)?)?;
    let steps = steps.and_then(|n| u64::try_from(n).ok());
    let folder = RunFolder::new(out.path());
    run_bundle::keep(bundle, &folder.bundle())?;
    write_sealed_json(&folder.manifest(), true, &bundle.manifest)?;
    let at = Checkpoint { bundle: Some(fingerprint(bundle)?), ..Checkpoint::new(steps.unwrap_or(0), 1, 0) };
    let kept = states.iter().zip(&state).filter(|(s, _)| s.role != Role::Optimizer);
    checkpoint::write(&folder.state(), &at, kept)?;
    write_whole(&folder.metrics(), true, b"")?;
    let said = format!(
        "trained by ONNX Runtime's training API and imported from {}: spgraph knows neither its images nor its losses",
        path.display()
    );
    write_sealed_json(&folder.notes(), true, &Notes { notes: vec![said] })?;
    let images = Images { training: 0, validation: 0, test: 0, skipped: 0, sha256: String::new(), stamps: None, contents: None };
    let training = Training { data: path.to_path_buf(), ..Training::default() };
    let engine = "ONNX Runtime's training API".to_string();
    let mut record = RunRecord::new(BundleReference::to(bundle)?, engine, EngineOptions::default(), training, images);
    record.status = Status::Complete;
    let name = folder.state().file_name().map(|n| n.to_string_lossy().into_owned());
    record.files.extend(name.zip(tensor_file::stated_hash(&folder.state())?));
    record.write(&folder)?;
    Ok((out.commit()?, steps))
}
