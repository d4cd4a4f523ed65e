//! The file of a Fisher estimate: safetensors, one float32 tensor for each parameter under its name in the model, with
//! [`Info`] as JSON under the header's metadata key `spgraph`.

use crate::error::{Error, Result};
use crate::fs::OutputFile;
use crate::ir::{DType, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// The one metadata key: several would be written in random order.
const KEY: &str = "spgraph";
pub const FORMAT: u32 = 1;

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// File name, without folders.
    pub file: String,
    pub sha256: String,
}

/// How the estimate was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    pub format: u32,
    /// Version of spgraph that wrote the file.
    pub spgraph: String,
    pub source: SourceInfo,
    /// `exact`, `sampled` or `empirical`.
    pub mode: String,
    /// m: images, or draws in `sampled` mode.
    pub samples: u64,
    pub classes: usize,
    pub seed: u64,
}

/// A Fisher file in memory.
#[derive(Debug, Clone)]
pub struct FisherFile {
    pub info: Info,
    /// By parameter; float32.
    pub tensors: HashMap<String, Tensor>,
}

/// The first element that is no diagonal entry of a Fisher matrix: negative or not finite.
fn bad(tensor: &Tensor) -> Option<f64> {
    tensor.to_f64().ok()?.into_iter().find(|v| !(v.is_finite() && *v >= 0.0))
}

/// Writes the file whole or not at all. Fails on entries that are negative or no numbers.
pub fn write(path: &Path, force: bool, info: &Info, tensors: &[(String, Tensor)]) -> Result<()> {
    let failed = |why: String| Error::data(format!("cannot write {}: {why}", path.display()));
    let mut views = vec![];
    for (name, tensor) in tensors {
        if let Some(value) = bad(tensor) {
            return Err(failed(format!("the Fisher information of `{name}` holds {value} as float32")));
        }
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), tensor.bytes()).map_err(|e| failed(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let text = serde_json::to_string(info).map_err(|e| failed(e.to_string()))?;
    let data = safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)]))).map_err(|e| failed(e.to_string()))?;
    let mut out = OutputFile::create(path, force)?;
    out.write_all(&data).map_err(Error::io("cannot write", path))?;
    out.commit()
}

/// Reads and checks a file: its format, its types, and that no entry is negative or not finite.
pub fn read(path: &Path) -> Result<FisherFile> {
    let refused = |why: String| {
        Error::model(format!("{} is no Fisher file of spgraph, or it is damaged: {why}. Make one with `spgraph fisher`", path.display()))
    };
    let data = bytes::Bytes::from(std::fs::read(path).map_err(Error::io("cannot read the Fisher file", path))?);
    let (_, header) = SafeTensors::read_metadata(&data).map_err(|e| refused(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| refused(format!("it has no metadata `{KEY}`")))?;
    let info: Info = serde_json::from_str(text).map_err(|e| refused(e.to_string()))?;
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
        if let Some(value) = bad(&tensor) {
            return Err(refused(format!("`{name}` holds {value}; every entry must be 0 or a positive number")));
        }
        tensors.insert(name, tensor);
    }
    Ok(FisherFile { info, tensors })
}
