//! Reads a file of Fisher information: a safetensors file with one tensor for each parameter, under the parameter's name, and the
//! metadata key `spgraph` with JSON that tells the SHA-256 of the source model.

use super::patterns::few;
use super::plan::Planned;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::manifest::Role;
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::Path;

const KEY: &str = "spgraph";

/// The tensors of the parameters that the penalty acts on, by name. Fails, with the reason, where the file is of another model, lacks
/// a parameter, or has entries that are negative or no numbers.
pub fn read(path: &Path, sha256: &str, parameters: &[Planned]) -> Result<HashMap<String, Tensor>> {
    let shown = path.display();
    let bad = |why: String| Error::model(format!("the Fisher file {shown} cannot be used: {why}"));
    let again = "Estimate it from this very model with `spgraph fisher`";
    let data = std::fs::read(path).map_err(Error::io("cannot read the Fisher file", path))?;
    let data = bytes::Bytes::from(data);
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| bad(format!("it is no safetensors file ({e})")))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let text = text.ok_or_else(|| bad(format!("it has no metadata `{KEY}`, so it does not say which model it is of. {again}")))?;
    let known: serde_json::Value = serde_json::from_str(text).map_err(|e| bad(format!("its metadata is no JSON ({e})")))?;
    match known.pointer("/source/sha256").and_then(|v| v.as_str()) {
        Some(found) if found == sha256 => {}
        Some(found) => {
            return Err(bad(format!(
                "it is of another model (SHA-256 {}…, the source model has {}…). {again}",
                found.get(..12).unwrap_or(found),
                sha256.get(..12).unwrap_or(sha256)
            )));
        }
        None => return Err(bad(format!("its metadata does not tell the source model's SHA-256 (source.sha256). {again}"))),
    }
    let file = SafeTensors::deserialize(&data).map_err(|e| bad(e.to_string()))?;
    let strangers: Vec<&str> = file.names().into_iter().filter(|n| !parameters.iter().any(|p| p.parameter.name == *n)).collect();
    if !strangers.is_empty() {
        return Err(bad(format!("the model has no parameter {}. {again}", few(strangers.into_iter()))));
    }
    let needed = || parameters.iter().filter(|p| p.penalized && p.role == Role::Shared);
    let missing: Vec<&str> = needed().map(|p| p.parameter.name.as_str()).filter(|n| file.tensor(n).is_err()).collect();
    if !missing.is_empty() {
        return Err(bad(format!("it lacks {}, on which the penalty acts. {again}", few(missing.into_iter()))));
    }
    let mut tensors = HashMap::new();
    for p in needed() {
        let name = &p.parameter.name;
        let view = file.tensor(name).map_err(|e| bad(e.to_string()))?;
        if view.shape() != p.shape {
            return Err(bad(format!("`{name}` has the shape {:?} in it, and {:?} in the model. {again}", view.shape(), p.shape)));
        }
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            other => return Err(bad(format!("`{name}` has elements of type {other:?}; float32 or float64 is needed"))),
        };
        let tensor = Tensor::new(dtype, p.shape.clone(), data.slice_ref(view.data()))?;
        let wrong = tensor.to_f64()?.into_iter().filter(|v| !(v.is_finite() && *v >= 0.0)).collect::<Vec<_>>();
        if let Some(first) = wrong.first() {
            return Err(bad(format!(
                "{} of the {} entries of `{name}` are negative or no numbers (the first is {first}); a mean of squares is neither. {again}",
                wrong.len(),
                tensor.count()
            )));
        }
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}
