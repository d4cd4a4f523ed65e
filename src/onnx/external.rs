//! External data: tensors whose bytes lie in files beside the model.
//!
//! A model may come from anywhere, so the names in it are not trusted: only a regular file with one name, inside the model's folder and reached
//! without a symbolic link, is ever opened, and once. The folder is opened when the model is; everything else is looked up beneath that, whatever
//! becomes of its path meanwhile. (ONNX's own loaders had several holes of this kind.)
//!
//! Files are read into memory rather than mapped: a file that another process cuts short while it is mapped kills the
//! reader with SIGBUS, and one that is rewritten would change the starting point under our feet.

use super::beneath::{Folder, open_beneath};
use super::pb;
use super::whole;
use crate::error::{Error, Result};
use crate::storage::{listed, regular};
use bytes::Bytes;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The external files of one model. Each is read once, whole, when a tensor first asks for it; clones share them.
#[derive(Debug, Clone)]
pub struct ExternalData {
    dir: PathBuf,
    folder: Arc<std::io::Result<Folder>>,
    files: Arc<Mutex<HashMap<PathBuf, Bytes>>>,
}

impl ExternalData {
    /// For a model in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        ExternalData { folder: Arc::new(Folder::open(&dir)), dir, files: Arc::default() }
    }

    /// All of the file that a tensor lies in, with the name that it gives it.
    pub fn whole(&self, proto: &pb::TensorProto) -> Result<(String, Bytes)> {
        let fail = |why: String| Error::model(format!("tensor `{}` has external data that cannot be used: {why}", proto.name()));
        let Entry { location, .. } = Entry::new(proto).map_err(fail)?;
        let data = self.file(&location).map_err(fail)?;
        Ok((location.to_string_lossy().into_owned(), data))
    }

    /// The paths of the files that were read so far.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).keys().map(|location| self.dir.join(location)).collect()
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
            let offset = |file: &Bytes| {
                at.checked_sub(file.as_ptr() as usize).filter(|o| o.checked_add(data.len()).is_some_and(|end| end <= file.len()))
            };
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
        let (mut file, length) = self.open(location)?;
        let path = self.dir.join(location);
        let data = whole::read(&mut file, length).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        listed::check(&path, &data).map_err(|e| e.to_string())?;
        files.insert(location.to_path_buf(), data.clone());
        Ok(data)
    }
}

impl ExternalData {
    /// Opens a regular file beneath the folder, without following any link. Gives its length as well.
    fn open(&self, location: &Path) -> Result<(std::fs::File, u64), String> {
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !location.components().all(inside) {
            return Err(format!("the location `{}` leaves the model's folder, which is refused", location.display()));
        }
        if !location.components().any(|part| matches!(part, Component::Normal(_))) {
            return Err("it names no file".into());
        }
        let path = self.dir.join(location);
        let cannot = |e: &std::io::Error| format!("cannot read {}: {e}", path.display());
        let folder = self.folder.as_ref().as_ref().map_err(&cannot)?;
        let file = open_beneath(folder, location).map_err(|e| match (e.kind(), self.link_on_the_way(location)) {
            (_, Some(link)) => format!(
                "{} is a symbolic link, which is refused because it may lead anywhere; put a copy of the file in its place (cp -L)",
                link.display()
            ),
            (std::io::ErrorKind::NotFound, None) => {
                format!("the file {} is missing; put it beside the model, where it was exported", path.display())
            }
            _ => cannot(&e),
        })?;
        let found = file.metadata().map_err(|e| cannot(&e))?;
        if !found.is_file() {
            return Err(format!("{} is not a regular file", path.display()));
        }
        // What is checked by its hash may have any number of names.
        if regular::names(&found) > 1 && listed::expected(&path).map_err(|e| e.to_string())?.is_none() {
            return Err(format!(
                "{} has other names too (hard links), which is refused because it may be a file from anywhere; put a copy in its place (cp)",
                path.display()
            ));
        }
        Ok((file, found.len()))
    }

    /// For a message: the first link on the way to the file.
    fn link_on_the_way(&self, location: &Path) -> Option<PathBuf> {
        let mut path = self.dir.clone();
        location.components().find_map(|part| {
            path.push(part);
            std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()).then(|| path.clone())
        })
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

#[cfg(test)]
#[path = "external_tests.rs"]
mod tests;
