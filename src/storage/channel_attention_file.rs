//! The file of channel attention: safetensors, one float32 vector for each layer under the name of its weight in the model, with [`Info`]
//! as JSON under the header's metadata key `spgraph`.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::fisher_file::SourceInfo;
use crate::storage::tensor_file;
use ndarray::Array1;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The version that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// How the attention was measured. Another tool's file needs no more than `format` and the source's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The file's version.
    pub format: u32,
    /// Version of spgraph that wrote the file.
    #[serde(default)]
    pub spgraph: String,
    /// The pretrained model, not the tuned one that was measured.
    pub source: SourceInfo,
    /// Images that it was measured on.
    #[serde(default)]
    pub images: usize,
    /// The loss with every filter on.
    #[serde(default)]
    pub loss: f64,
}

/// A file in memory.
#[derive(Debug, Clone)]
pub struct AttentionFile {
    /// How it was measured.
    pub info: Info,
    /// By the layer's weight; float32, `[C]`, with mean 1.
    pub tensors: HashMap<String, Tensor>,
}

/// Writes the file whole or not at all.
pub fn write(path: &Path, force: bool, info: &Info, layers: &[(String, Array1<f64>)]) -> Result<()> {
    let tensors: Vec<(&str, Tensor)> = layers.iter().map(|(n, v)| (n.as_str(), v.mapv(|v| v as f32).into())).collect();
    tensor_file::write(path, force, info, tensors.iter().map(|(name, tensor)| (*name, tensor)))
}

/// Reads and checks a file: its format, its types, and that no weight is negative or not finite.
pub fn read(path: &Path) -> Result<AttentionFile> {
    let refused = |why: String| {
        Error::model(format!(
            "{} is no attention file of spgraph, or it is damaged: {why}. Make one with `spgraph attention`",
            path.display()
        ))
    };
    let (info, tensors) = tensor_file::read(path, "cannot read the attention file", FORMAT, refused)?;
    for (name, tensor) in &tensors {
        if tensor.dtype() != DType::F32 || tensor.shape().len() != 1 {
            return Err(refused(format!("`{name}` is {}, not a vector of float32", tensor.ty())));
        }
        if let Some(wrong) = tensor.to_f64()?.into_iter().find(|v| !(v.is_finite() && *v >= 0.0)) {
            return Err(refused(format!("`{name}` holds {wrong}, which is no weight")));
        }
    }
    Ok(AttentionFile { info, tensors })
}
