//! The file of a Fisher estimate: safetensors, one float32 tensor for each parameter under its name in the model, with
//! [`Info`] as JSON under the header's metadata key `spgraph`.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::tensor_file;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

pub const FORMAT: u32 = 1;

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// File name, without folders.
    #[serde(default)]
    pub file: String,
    pub sha256: String,
}

/// How the estimate was made. Another tool's file needs no more than `format` and the source's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    pub format: u32,
    /// Version of spgraph that wrote the file.
    #[serde(default)]
    pub spgraph: String,
    pub source: SourceInfo,
    /// `exact`, `sampled` or `empirical`.
    #[serde(default)]
    pub mode: String,
    /// m: images, or draws in `sampled` mode.
    #[serde(default)]
    pub samples: u64,
    #[serde(default)]
    pub classes: usize,
    #[serde(default)]
    pub seed: u64,
}

/// A Fisher file in memory.
#[derive(Debug, Clone)]
pub struct FisherFile {
    pub info: Info,
    /// By parameter; float32.
    pub tensors: HashMap<String, Tensor>,
}

/// Whether it can be a diagonal entry of a Fisher matrix.
fn is_entry(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// Writes the file whole or not at all. Fails on entries that are negative or no numbers.
pub fn write(path: &Path, force: bool, info: &Info, tensors: &[(String, Tensor)]) -> Result<()> {
    let failed = |why: String| Error::data(format!("cannot write {}: {why}", path.display()));
    let mut views = vec![];
    for (name, tensor) in tensors {
        if let Some(value) = tensor.to_f64()?.into_iter().find(|v| !is_entry(*v)) {
            return Err(failed(format!("the Fisher information of `{name}` holds {value} as float32")));
        }
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), tensor.bytes()).map_err(|e| failed(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    tensor_file::write(path, force, info, views, failed)
}

/// Reads and checks a file: its format, its types, and that no entry is negative or not finite.
pub fn read(path: &Path) -> Result<FisherFile> {
    let refused = |why: String| {
        Error::model(format!("{} is no Fisher file of spgraph, or it is damaged: {why}. Make one with `spgraph fisher`", path.display()))
    };
    let data = bytes::Bytes::from(std::fs::read(path).map_err(Error::io("cannot read the Fisher file", path))?);
    let info: Info = tensor_file::header(&data, refused)?;
    if info.format != FORMAT {
        return Err(refused(format!("it has format {}, and this spgraph reads {FORMAT}", info.format)));
    }
    let file = SafeTensors::deserialize(&data).map_err(|e| refused(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(refused(format!("`{name}` has elements of type {:?}, not F32", view.dtype())));
        }
        let tensor = Tensor::new(DType::F32, view.shape().to_vec(), data.slice_ref(view.data()))?;
        let wrong: Vec<f64> = tensor.to_f64()?.into_iter().filter(|v| !is_entry(*v)).collect();
        if let Some(first) = wrong.first() {
            return Err(refused(format!(
                "{} of the {} entries of `{name}` are negative or no numbers (the first is {first}); a mean of squares is neither",
                wrong.len(),
                tensor.count()
            )));
        }
        tensors.insert(name, tensor);
    }
    Ok(FisherFile { info, tensors })
}
