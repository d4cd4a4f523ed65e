//! The file of a Fisher estimate: safetensors, one float32 tensor for each parameter under its name in the model, with
//! [`Info`] as JSON under the header's metadata key `spgraph`.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::tensor_file;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The version that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// File name, without folders.
    #[serde(default)]
    pub file: String,
    /// SHA-256 of the model's file, as hexadecimal digits.
    pub sha256: String,
}

/// How the estimate was made. Another tool's file needs no more than `format` and the source's hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// The file's version.
    pub format: u32,
    /// Version of spgraph that wrote the file.
    #[serde(default)]
    pub spgraph: String,
    /// The model that was measured.
    pub source: SourceInfo,
    /// `exact`, `sampled` or `empirical`.
    #[serde(default)]
    pub mode: String,
    /// m: images, or draws in `sampled` mode.
    #[serde(default)]
    pub samples: u64,
    /// Classes that the model tells apart.
    #[serde(default)]
    pub classes: usize,
    /// Decided the order of images and draws.
    #[serde(default)]
    pub seed: u64,
}

/// A Fisher file in memory.
#[derive(Debug, Clone)]
pub struct FisherFile {
    /// How it was made.
    pub info: Info,
    /// By parameter; float32.
    pub tensors: HashMap<String, Tensor>,
}

/// Whether it can be a diagonal entry of a Fisher matrix.
fn is_entry(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// Whether it says nothing.
pub fn is_zero(tensor: &Tensor) -> bool {
    // The sign is a number's only bit that may be set.
    tensor
        .bytes()
        .chunks_exact(tensor.dtype().size().max(1))
        .all(|v| v.split_last().is_none_or(|(sign, rest)| *sign & 0x7f == 0 && rest.iter().all(|b| *b == 0)))
}

/// Writes the file whole or not at all. Fails on entries that are negative or no numbers, and where all are 0.
pub fn write(path: &Path, force: bool, info: &Info, tensors: &[(String, Tensor)]) -> Result<()> {
    for (name, tensor) in tensors {
        if let Some(value) = tensor.to_f64()?.into_iter().find(|v| !is_entry(*v)) {
            let why = format!("the Fisher information of `{name}` holds {value} as float32");
            return Err(Error::data(format!("cannot write {}: {why}", path.display())));
        }
    }
    if tensors.iter().all(|(_, tensor)| is_zero(tensor)) {
        let why = "all of the Fisher information is 0: no image moves any weight. Check the images and how they are prepared";
        return Err(Error::data(format!("cannot write {}: {why}", path.display())));
    }
    tensor_file::write(path, force, info, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)))
}

/// Reads and checks a file: its format, its types, that no entry is negative or not finite, and that some are above 0.
pub fn read(path: &Path) -> Result<FisherFile> {
    let refused = |why: String| {
        Error::model(format!("{} is no Fisher file of spgraph, or it is damaged: {why}. Make one with `spgraph fisher`", path.display()))
    };
    let (info, tensors) = tensor_file::read(path, "cannot read the Fisher file", FORMAT, refused)?;
    for (name, tensor) in &tensors {
        if tensor.dtype() != DType::F32 {
            return Err(refused(format!("`{name}` has elements of type {}, not float32", tensor.dtype())));
        }
        let wrong: Vec<f64> = tensor.to_f64()?.into_iter().filter(|v| !is_entry(*v)).collect();
        if let Some(first) = wrong.first() {
            return Err(refused(format!(
                "{} of the {} entries of `{name}` are negative or no numbers (the first is {first}); a mean of squares is neither",
                wrong.len(),
                tensor.count()
            )));
        }
    }
    if tensors.values().all(is_zero) {
        return Err(refused("all of its entries are 0, so no parameter would be held where it is".into()));
    }
    Ok(FisherFile { info, tensors })
}
