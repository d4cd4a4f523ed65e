//! The file of channel attention: safetensors, one float32 vector for each layer under the name of its weight in the model, with [`Info`]
//! as JSON under the header's metadata key `spgraph`.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::fisher_file::SourceInfo;
use crate::storage::tensor_file;
use ndarray::Array1;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

pub const FORMAT: u32 = 1;

/// How the attention was measured. Another tool's file needs no more than `format` and the source's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    pub format: u32,
    /// Version of spgraph that wrote the file.
    #[serde(default)]
    pub spgraph: String,
    /// The pretrained model, not the tuned one that was measured.
    pub source: SourceInfo,
    #[serde(default)]
    pub images: usize,
    /// The loss with every filter on.
    #[serde(default)]
    pub loss: f64,
}

/// A file in memory.
#[derive(Debug, Clone)]
pub struct AttentionFile {
    pub info: Info,
    /// By the layer's weight; float32, `[C]`, with mean 1.
    pub tensors: HashMap<String, Tensor>,
}

/// Writes the file whole or not at all.
pub fn write(path: &Path, force: bool, info: &Info, layers: &[(String, Array1<f64>)]) -> Result<()> {
    let failed = |why: String| Error::data(format!("cannot write {}: {why}", path.display()));
    let tensors: Vec<(&str, Tensor)> = layers.iter().map(|(n, v)| (n.as_str(), v.mapv(|v| v as f32).into())).collect();
    let mut views = vec![];
    for (name, tensor) in &tensors {
        let view = TensorView::new(Dtype::F32, tensor.shape().to_vec(), tensor.bytes()).map_err(|e| failed(e.to_string()))?;
        views.push((*name, view));
    }
    tensor_file::write(path, force, info, views, failed)
}

/// Reads and checks a file: its format, its types, and that no weight is negative or not finite.
pub fn read(path: &Path) -> Result<AttentionFile> {
    let refused = |why: String| {
        Error::model(format!(
            "{} is no attention file of spgraph, or it is damaged: {why}. Make one with `spgraph attention`",
            path.display()
        ))
    };
    let data = bytes::Bytes::from(std::fs::read(path).map_err(Error::io("cannot read the attention file", path))?);
    let info: Info = tensor_file::header(&data, refused)?;
    if info.format != FORMAT {
        return Err(refused(format!("it has format {}, and this spgraph reads {FORMAT}", info.format)));
    }
    let file = SafeTensors::deserialize(&data).map_err(|e| refused(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
            return Err(refused(format!("`{name}` is {:?} of shape {:?}, not a vector of F32", view.dtype(), view.shape())));
        }
        let tensor = Tensor::new(DType::F32, view.shape().to_vec(), data.slice_ref(view.data()))?;
        if let Some(wrong) = tensor.to_f64()?.into_iter().find(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(refused(format!("`{name}` holds {wrong}, which is no weight")));
        }
        tensors.insert(name, tensor);
    }
    Ok(AttentionFile { info, tensors })
}
