//! Checkpoints: the whole state and where the run stands, as a safetensors file.

use super::run::Best;
use crate::bundle::manifest::State;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::tensor_file::{self, KEY};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Version of this structure.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    pub epoch: u64,
    pub seed: u64,
    /// The step after which the validation images were last looked at.
    pub validated: u64,
    pub best: Option<Best>,
}

const FORMAT: u32 = 1;

impl Checkpoint {
    pub(super) fn new(step: u64, epoch: u64, seed: u64) -> Self {
        Checkpoint { format: FORMAT, step, epoch, seed, validated: 0, best: None }
    }
}

/// (our type, theirs)
const TYPES: [(DType, Dtype); 4] = [(DType::F32, Dtype::F32), (DType::F64, Dtype::F64), (DType::I64, Dtype::I64), (DType::F16, Dtype::F16)];

/// Writes the tensors with their names in the manifest; the file appears whole or not at all.
pub(super) fn write<'a>(path: &Path, at: &Checkpoint, tensors: impl Iterator<Item = (&'a State, &'a Tensor)>) -> Result<()> {
    let failed = |why: String| Error::training(format!("cannot write {}: {why}", path.display()));
    let mut views = vec![];
    for (state, tensor) in tensors {
        let dtype = TYPES.iter().find(|t| t.0 == tensor.dtype()).map(|t| t.1);
        let dtype = dtype.ok_or_else(|| failed(format!("`{}` has elements of type {}", state.name, tensor.dtype())))?;
        let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.bytes()).map_err(|e| failed(e.to_string()))?;
        views.push((state.name.as_str(), view));
    }
    tensor_file::write(path, true, at, views, failed)
}

/// Reads the tensors of `states`, in that order, and where the run stood.
pub fn read_state<'a>(path: &Path, states: impl Iterator<Item = &'a State>) -> Result<(Checkpoint, Vec<Tensor>)> {
    let damaged = |why: String| {
        Error::model(format!("{} is no state of this bundle, or it is damaged: {why}. Start the run anew with --force", path.display()))
    };
    let data = std::fs::read(path).map_err(Error::io("cannot read", path))?;
    let data = bytes::Bytes::from(data);
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| damaged(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| damaged("spgraph did not write it".into()))?;
    let at: Checkpoint = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
    if at.format != FORMAT {
        return Err(damaged(format!("it has format {}, and this spgraph reads {FORMAT}", at.format)));
    }
    let file = SafeTensors::deserialize(&data).map_err(|e| damaged(e.to_string()))?;
    let tensors = states
        .map(|state| {
            let view = file.tensor(&state.name).map_err(|_| damaged(format!("it lacks `{}`", state.name)))?;
            if view.shape() != state.shape || !TYPES.contains(&(state.dtype, view.dtype())) {
                return Err(damaged(format!("`{}` has another type or shape than the manifest says", state.name)));
            }
            Tensor::new(state.dtype, state.shape.clone(), data.slice_ref(view.data()))
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
