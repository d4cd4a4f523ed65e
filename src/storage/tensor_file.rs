//! Safetensors files as spgraph writes them: tensors, and one metadata key with JSON behind it. The JSON begins with the hash of the whole file (see
//! [`seal`]).

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::storage::files::write_whole;
use crate::storage::{regular, seal};
use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// The one metadata key: several would be written in random order.
const KEY: &str = "spgraph";

/// What stands between the length of the header, of 8 bytes, and the hash.
const BEFORE: &str = r#"{"__metadata__":{"spgraph":"{\"blake3\":\""#;
/// Where the hash begins.
const PLACE: usize = 8 + BEFORE.len();

/// (our type, theirs)
const TYPES: [(DType, Dtype); 13] = [
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I8, Dtype::I8),
    (DType::I16, Dtype::I16),
    (DType::I32, Dtype::I32),
    (DType::I64, Dtype::I64),
    (DType::U8, Dtype::U8),
    (DType::U16, Dtype::U16),
    (DType::U32, Dtype::U32),
    (DType::U64, Dtype::U64),
    (DType::Bool, Dtype::BOOL),
];

/// Writes the tensors, with `header` as JSON, whole or not at all. Without `force` an existing file is refused.
pub fn write<'a>(
    path: &Path,
    force: bool,
    header: &impl Serialize,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<()> {
    write_whole(path, force, &sealed(path, header, tensors)?)
}

/// The bytes of such a file for `path`.
pub fn sealed<'a>(path: &Path, header: &impl Serialize, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<Vec<u8>> {
    let failed = |why: String| Error::data(format!("cannot write {}: {why}", path.display()));
    let mut views = vec![];
    for (name, tensor) in tensors {
        let dtype = TYPES.iter().find(|t| t.0 == tensor.dtype()).map(|t| t.1);
        let dtype = dtype.ok_or_else(|| failed(format!("`{name}` has elements of type {}", tensor.dtype())))?;
        views.push((name, TensorView::new(dtype, tensor.shape().to_vec(), tensor.bytes()).map_err(|e| failed(e.to_string()))?));
    }
    let text = serde_json::to_string(header).map_err(|e| failed(e.to_string()))?;
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).filter(|t| !t.is_empty());
    let inner = inner.ok_or_else(|| failed("its header has no fields".into()))?;
    let text = format!(r#"{{"{}":"{}",{inner},"{}":true}}"#, seal::HASH, "0".repeat(seal::DIGITS), seal::SEALED);
    let mut data = safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)]))).map_err(|e| failed(e.to_string()))?;
    if !seal::set(&mut data, PLACE) {
        return Err(Error::internal(format!("{} cannot be sealed", path.display())));
    }
    Ok(data)
}

/// The hash that the file says it has; `None` where it says none.
pub fn stated_hash(path: &Path) -> Result<Option<String>> {
    let failed = |e| Error::io("cannot read", path)(e);
    let mut head = vec![];
    regular::open(path).map_err(failed)?.0.take((PLACE + seal::DIGITS) as u64).read_to_end(&mut head).map_err(failed)?;
    let stated = is_sealed(&head).then(|| head.get(PLACE..PLACE + seal::DIGITS)).flatten();
    Ok(stated.map(|digits| String::from_utf8_lossy(digits).into_owned()))
}

fn is_sealed(data: &[u8]) -> bool {
    data.get(8..PLACE) == Some(BEFORE.as_bytes())
}

/// Reads the header, whose field `format` must be the given one, and the tensors by name. `reading` says what failed where there is no
/// file, and `refused` makes the error for what is no such file.
pub fn read<H: DeserializeOwned>(
    path: &Path,
    reading: &'static str,
    format: u32,
    refused: impl Fn(String) -> Error,
) -> Result<(H, HashMap<String, Tensor>)> {
    let data = regular::read(path).map_err(Error::io(reading, path))?;
    let hash = if is_sealed(&data) { Some(seal::check(&data, PLACE).map_err(&refused)?) } else { None };
    let (_, metadata) = SafeTensors::read_metadata(&data).map_err(|e| refused(format!("it is no safetensors file ({e})")))?;
    let text = metadata.metadata().as_ref().and_then(|m| m.get(KEY)).ok_or_else(|| refused(format!("it has no metadata `{KEY}`")))?;
    let mut header: serde_json::Value = serde_json::from_str(text).map_err(|e| refused(e.to_string()))?;
    let fields = header.as_object_mut().ok_or_else(|| refused(format!("its metadata `{KEY}` is no object")))?;
    let (stated, sealed) = (fields.remove(seal::HASH), fields.remove(seal::SEALED));
    if hash.is_none() {
        if stated.is_some() || sealed.is_some() {
            return Err(refused("it was written with a hash, which is not where it belongs, so the file was changed since".into()));
        }
        seal::unsealed(path);
    }
    if let Some(found) = header.get("format").filter(|f| f.as_u64() != Some(format.into())) {
        return Err(refused(format!("it has format {found}, and this spgraph reads {format}")));
    }
    // Not by way of `header`, where a float32 would be rounded twice.
    let header = serde_json::from_str(text).map_err(|e| refused(e.to_string()))?;
    Ok((header, tensors_of(&data, refused)?))
}

/// Reads a safetensors file of anybody: its metadata and its tensors by name. `refused` makes the error for what is no such file.
pub fn read_plain(path: &Path, refused: impl Fn(String) -> Error) -> Result<(HashMap<String, String>, HashMap<String, Tensor>)> {
    let data = regular::read(path).map_err(Error::io("cannot read", path))?;
    if is_sealed(&data) {
        seal::check(&data, PLACE).map_err(&refused)?;
    }
    let (_, metadata) = SafeTensors::read_metadata(&data).map_err(|e| refused(format!("it is no safetensors file ({e})")))?;
    Ok((metadata.metadata().clone().unwrap_or_default(), tensors_of(&data, refused)?))
}

fn tensors_of(data: &Bytes, refused: impl Fn(String) -> Error) -> Result<HashMap<String, Tensor>> {
    let file = SafeTensors::deserialize(data).map_err(|e| refused(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, view) in file.tensors() {
        let dtype = TYPES.iter().find(|t| t.1 == view.dtype()).map(|t| t.0);
        let dtype =
            dtype.ok_or_else(|| refused(format!("`{name}` has elements of type {:?}, which spgraph does not know", view.dtype())))?;
        tensors.insert(name, Tensor::new(dtype, view.shape().to_vec(), data.slice_ref(view.data()))?);
    }
    Ok(tensors)
}
