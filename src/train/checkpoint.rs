//! Checkpoints: the whole state and where the run stands, as a safetensors file.

use super::run::Best;
use crate::bundle::manifest::State;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::storage::tensor_file;
use serde::{Deserialize, Serialize};
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
}

const FORMAT: u32 = 1;

impl Checkpoint {
    pub(super) fn new(step: u64, epoch: u64, seed: u64) -> Self {
        Checkpoint { format: FORMAT, step, epoch, seed, validated: 0, best: None }
    }
}

/// Writes the tensors with their names in the manifest; the file appears whole or not at all.
pub(super) fn write<'a>(path: &Path, at: &Checkpoint, tensors: impl Iterator<Item = (&'a State, &'a Tensor)>) -> Result<()> {
    tensor_file::write(path, true, at, tensors.map(|(state, tensor)| (state.name.as_str(), tensor)))
}

/// Reads the tensors of `states`, in that order, and where the run stood.
pub fn read_state<'a>(path: &Path, states: impl Iterator<Item = &'a State>) -> Result<(Checkpoint, Vec<Tensor>)> {
    let damaged = |why: String| {
        Error::model(format!(
            "{} is no state of this bundle, or it is damaged: {why}. Start the run anew with {}",
            path.display(),
            Field::REPLACE
        ))
    };
    let (at, mut tensors) = tensor_file::read(path, "cannot read", FORMAT, damaged)?;
    let tensors = states
        .map(|state| {
            let tensor = tensors.remove(&state.name).ok_or_else(|| damaged(format!("it lacks `{}`", state.name)))?;
            if tensor.shape() != state.shape || tensor.dtype() != state.dtype {
                return Err(damaged(format!("`{}` has another type or shape than the manifest says", state.name)));
            }
            Ok(tensor)
        })
        .collect::<Result<_>>()?;
    Ok((at, tensors))
}

/// The first tensor with an element that is no number.
pub(super) fn not_finite<'a>(states: &'a [State], tensors: &[Tensor]) -> Result<Option<&'a str>> {
    for (state, tensor) in states.iter().zip(tensors) {
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
