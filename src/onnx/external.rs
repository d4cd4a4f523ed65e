//! External data: tensors whose bytes lie in files beside the model.
//!
//! A model may come from anywhere, so the names in it are not trusted: only a regular file inside the model's folder,
//! reached without a symbolic link, is ever opened. (ONNX's own loaders had several holes of this kind.)
//!
//! Files are read into memory rather than mapped: a file that another process cuts short while it is mapped kills the
//! reader with SIGBUS, and one that is rewritten would change the starting point under our feet.

use super::pb;
use super::whole;
use crate::error::{Error, Result};
use crate::storage::listed;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The external files of one model. Each is read once, whole, when a tensor first asks for it; clones share them.
#[derive(Debug, Clone)]
pub struct ExternalData {
    dir: PathBuf,
    files: Arc<Mutex<HashMap<PathBuf, Bytes>>>,
}

impl ExternalData {
    /// For a model in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        ExternalData { dir: dir.into(), files: Arc::default() }
    }

    /// The `needed` bytes of a tensor that lies in a file, as a slice of that file.
    pub fn slice(&self, proto: &pb::TensorProto, needed: usize) -> Result<Bytes> {
        let fail = |why: String| Error::model(format!("tensor `{}` has external data that cannot be used: {why}", proto.name()));
        let entry = Entry::new(proto).map_err(fail)?;
        if let Some(length) = entry.length
            && length != needed as u64
        {
            return Err(fail(format!("type and shape need {needed} bytes, `length` says {length}")));
        }
        let file = self.file(&entry.location).map_err(fail)?;
        let range = usize::try_from(entry.offset).ok().and_then(|from| Some(from..from.checked_add(needed)?));
        match range {
            Some(range) if range.end <= file.len() => Ok(file.slice(range)),
            _ => Err(fail(format!(
                "{needed} bytes at offset {} are needed, but the file `{}` has {} bytes; it is truncated or belongs to another model",
                entry.offset,
                entry.location.display(),
                file.len()
            ))),
        }
    }

    /// The inverse of reading: initializers whose bytes are a part of one of the files read so far refer to it again.
    pub fn refer(&self, model: &mut pb::ModelProto) {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for proto in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
            let Some(data) = proto.raw_data.as_ref().filter(|d| !d.is_empty()) else { continue };
            let at = data.as_ptr() as usize;
            let offset = |file: &Bytes| at.checked_sub(file.as_ptr() as usize).filter(|o| o + data.len() <= file.len());
            let found = files.iter().find_map(|(location, file)| Some((location, offset(file)?)));
            if let Some((location, offset)) = found {
                refer_to(proto, &location.to_string_lossy(), offset as u64, data.len());
            }
        }
    }

    /// The content of `location`, from memory where it was asked for before.
    fn file(&self, location: &Path) -> Result<Bytes, String> {
        // A poisoned lock only means that another thread panicked between two whole entries.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(data) = files.get(location) {
            return Ok(data.clone());
        }
        let mut file = open_inside(&self.dir, location)?;
        let cannot = |e: std::io::Error| format!("cannot read {}: {e}", self.dir.join(location).display());
        let length = file.metadata().map_err(cannot)?.len();
        let data = whole::read(&mut file, length).map_err(cannot)?;
        listed::check(&self.dir.join(location), &data).map_err(|e| e.to_string())?;
        files.insert(location.to_path_buf(), data.clone());
        Ok(data)
    }
}

/// Lets a tensor refer to `length` bytes of the file `location` instead of holding them.
pub(super) fn refer_to(proto: &mut pb::TensorProto, location: &str, offset: u64, length: usize) {
    let entry = |key: &str, value: String| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    *proto = pb::TensorProto {
        name: proto.name.take(),
        dims: std::mem::take(&mut proto.dims),
        data_type: proto.data_type,
        doc_string: proto.doc_string.take(),
        metadata_props: std::mem::take(&mut proto.metadata_props),
        external_data: vec![entry("location", location.into()), entry("offset", offset.to_string()), entry("length", length.to_string())],
        data_location: Some(pb::tensor_proto::DataLocation::External as i32),
        ..Default::default()
    };
}

/// What `TensorProto.external_data` says. `checksum` and keys of other programs don't bear on where the data is.
struct Entry {
    location: PathBuf,
    offset: u64,
    length: Option<u64>,
}

impl Entry {
    fn new(proto: &pb::TensorProto) -> Result<Self, String> {
        let get = |key: &str| {
            let mut found = proto.external_data.iter().filter(|e| e.key() == key);
            match (found.next(), found.next()) {
                (value, None) => Ok(value.map(|e| e.value())),
                _ => Err(format!("`{key}` is given twice")),
            }
        };
        let number = |key: &str| match get(key)? {
            // `parse` for an unsigned number refuses a minus sign and what does not fit.
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| format!("`{key}` is {text:?}, which is no valid byte count")),
            None => Ok(None),
        };
        let location = PathBuf::from(get("location")?.ok_or("it names no file")?);
        Ok(Entry { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// Opens a regular file below `dir` without following any link.
fn open_inside(dir: &Path, location: &Path) -> Result<File, String> {
    if location.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("the location `{}` leaves the model's folder, which is refused", location.display()));
    }
    let mut path = dir.to_path_buf();
    let mut named = false;
    for part in location.components() {
        let Component::Normal(name) = part else { continue };
        path.push(name);
        named = true;
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(format!("the file {} is missing; put it beside the model, where it was exported", path.display()));
            }
            Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
        };
        if found.is_symlink() {
            return Err(format!(
                "{} is a symbolic link, which is refused because it may lead anywhere; put a copy of the file in its place (cp -L)",
                path.display()
            ));
        }
    }
    if !named {
        return Err("it names no file".into());
    }
    // The folder may be changed between the check and here; a link in the last place is still refused, and a pipe
    // cannot block us.
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    match file.metadata() {
        Ok(found) if found.is_file() => Ok(file),
        Ok(_) => Err(format!("{} is not a regular file", path.display())),
        Err(e) => Err(format!("cannot read {}: {e}", path.display())),
    }
}

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
