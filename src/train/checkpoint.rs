//! Checkpoints: the whole state and where the run stands, as a safetensors file.

use super::run::{Best, RunRecord, Status};
use crate::bundle::manifest::State;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::storage::files::OutputFile;
use crate::storage::run_folder::RunFolder;
use crate::storage::{exchange, tensor_file};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this structure.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// The run's seed.
    pub seed: u64,
    /// The step after which the validation images were last looked at.
    pub validated: u64,
    /// The best validation so far.
    pub best: Option<Best>,
    /// The run that it belongs to. Final and best weights have none, for they are the same in every run with the same options; the run's record has their hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The hash of the bundle that was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

const FORMAT: u32 = 1;

impl Checkpoint {
    pub(super) fn new(step: u64, epoch: u64, seed: u64) -> Self {
        Checkpoint { format: FORMAT, step, epoch, seed, validated: 0, best: None, run: None, bundle: None }
    }

    /// Fails where the file at `path` is of another run than that of `record`.
    pub(super) fn check_owner(&self, path: &Path, record: &RunRecord) -> Result<()> {
        let shown = path.display();
        let foreign = |what: &str| {
            Err(Error::model(format!("{shown} is {what}. Put the right file back, or start the run anew with {}", Field::REPLACE)))
        };
        let differs = |own: &Option<String>, of_run: Option<&String>| own.is_some() && own.as_ref() != of_run;
        if differs(&self.bundle, Some(&record.bundle.sha256)) {
            return foreign("of a run of another bundle");
        }
        if differs(&self.run, record.id.as_ref()) {
            return foreign("the checkpoint of another run");
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if record.status == Status::Complete
            && let Some(hash) = record.files.get(&name)
            && tensor_file::stated_hash(path)?.as_ref() != Some(hash)
        {
            return foreign("not the file that this run wrote: its hash is another one than that in the run's record");
        }
        Ok(())
    }
}

/// Writes the tensors with their names in the manifest; the file appears whole or not at all.
pub(super) fn write<'a>(path: &Path, at: &Checkpoint, tensors: impl Iterator<Item = (&'a State, &'a Tensor)>) -> Result<()> {
    tensor_file::write(path, true, at, tensors.map(|(state, tensor)| (state.name.as_str(), tensor)))
}

/// Writes the run's checkpoint. The one that was there stays as the one before it.
pub(super) fn write_last<'a>(folder: &RunFolder, at: &Checkpoint, tensors: impl Iterator<Item = (&'a State, &'a Tensor)>) -> Result<()> {
    let path = folder.checkpoint();
    let data = tensor_file::sealed(&path, at, tensors.map(|(state, tensor)| (state.name.as_str(), tensor)))?;
    let mut out = OutputFile::own(&path, true)?;
    out.write_all(&data).map_err(Error::io("cannot write", &path))?;
    out.commit_keeping(&folder.previous_checkpoint())
}

/// Where a run goes on.
pub(super) struct Resumed {
    pub at: Checkpoint,
    pub state: Vec<Tensor>,
    /// Why that is not the last checkpoint, where it is not.
    pub note: Option<String>,
}

/// The last checkpoint of the run, or where that is damaged the one before it. `None` where there is none.
pub(super) fn read_last(folder: &RunFolder, record: &RunRecord, states: &[State]) -> Result<Option<Resumed>> {
    exchange::restore(&folder.checkpoint());
    let mut damaged: Option<Error> = None;
    for path in [folder.checkpoint(), folder.previous_checkpoint()].into_iter().filter(|p| p.is_file()) {
        let read = read_state(&path, states.iter()).and_then(|(at, state)| at.check_owner(&path, record).map(|()| (at, state)));
        match (read, damaged.take()) {
            (Ok((at, state)), before) => {
                let note = before.map(|why| format!("the run goes on from the checkpoint before the last, of step {}: {why}", at.step));
                return Ok(Some(Resumed { at, state, note }));
            }
            (Err(error), None) => damaged = Some(error),
            (Err(error), Some(first)) => {
                return Err(Error::model(format!("{first}. The checkpoint before it is of no use either: {error}")));
            }
        }
    }
    damaged.map_or(Ok(None), Err)
}

/// Reads the tensors of `states`, in that order, and where the run stood. Fails where a file is damaged, of other tensors, or holds what is no number.
pub fn read_state<'a>(path: &Path, states: impl Iterator<Item = &'a State>) -> Result<(Checkpoint, Vec<Tensor>)> {
    let damaged = |why: String| {
        Error::model(format!(
            "{} is no state of this bundle, or it is damaged: {why}. Start the run anew with {}",
            path.display(),
            Field::REPLACE
        ))
    };
    let (at, mut tensors) = tensor_file::read(path, "cannot read", FORMAT, damaged)?;
    let states: Vec<&State> = states.collect();
    let tensors: Vec<Tensor> = states
        .iter()
        .map(|state| {
            let tensor = tensors.remove(&state.name).ok_or_else(|| damaged(format!("it lacks `{}`", state.name)))?;
            if tensor.shape() != state.shape || tensor.dtype() != state.dtype {
                return Err(damaged(format!("`{}` has another type or shape than the manifest says", state.name)));
            }
            Ok(tensor)
        })
        .collect::<Result<_>>()?;
    match not_finite(states.iter().copied(), &tensors)? {
        Some(name) => Err(damaged(format!("`{name}` has values that are no numbers"))),
        None => Ok((at, tensors)),
    }
}

/// The first tensor with an element that is no number.
pub(super) fn not_finite<'a>(states: impl IntoIterator<Item = &'a State>, tensors: &[Tensor]) -> Result<Option<&'a str>> {
    for (state, tensor) in states.into_iter().zip(tensors) {
        let finite = match tensor.dtype() {
            DType::F32 => tensor.elements::<f32>()?.iter().all(|v| v.is_finite()),
            dtype if dtype.is_float() => tensor.to_f64()?.iter().all(|v| v.is_finite()),
            _ => true,
        };
        if !finite {
            return Ok(Some(&state.alias));
        }
    }
    Ok(None)
}
