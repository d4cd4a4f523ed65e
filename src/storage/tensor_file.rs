//! Safetensors files as spgraph writes them: tensors, and one metadata key with JSON behind it.

use crate::error::{Error, Result};
use crate::storage::files::write_whole;
use safetensors::tensor::{SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;

/// The one metadata key: several would be written in random order.
pub const KEY: &str = "spgraph";

/// Writes the tensors, with `header` as JSON under [`KEY`], whole or not at all. `failed` makes the error for what cannot be encoded.
pub fn write<S: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    force: bool,
    header: &impl Serialize,
    views: Vec<(S, TensorView)>,
    failed: impl Fn(String) -> Error,
) -> Result<()> {
    let text = serde_json::to_string(header).map_err(|e| failed(e.to_string()))?;
    let data = safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)]))).map_err(|e| failed(e.to_string()))?;
    write_whole(path, force, &data)
}

/// What stands as JSON under [`KEY`] in the file's header. `refused` makes the error for what is no such file.
pub fn header<T: DeserializeOwned>(data: &[u8], refused: impl Fn(String) -> Error) -> Result<T> {
    let (_, header) = SafeTensors::read_metadata(data).map_err(|e| refused(format!("it is no safetensors file ({e})")))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| refused(format!("it has no metadata `{KEY}`")))?;
    serde_json::from_str(text).map_err(|e| refused(e.to_string()))
}
