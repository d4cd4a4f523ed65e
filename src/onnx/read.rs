//! Reads a model file: once, with the weights as slices of what was read, and hashed on the way.

use super::external::ExternalData;
use super::functions::inline_functions;
use super::names::{name_nameless, name_once};
use super::order::put_in_order;
use super::wire::DecodeError;
use super::{pb, sniff, tensor, whole, wire};
use crate::error::{Error, Result};
use crate::ir;
use crate::storage::{files, listed, regular, sha256};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

/// A model as it was found on disk.
#[derive(Debug, Clone)]
pub struct SourceModel {
    /// The decoded file, without functions and with its nodes in order. Every `raw_data` is a slice of the file's bytes, not a copy.
    pub proto: pb::ModelProto,
    /// The path that was given.
    pub path: PathBuf,
    /// The folder of the file: external data is looked for there and nowhere else.
    pub dir: PathBuf,
    /// SHA-256 of the file in hexadecimal; files of external data are not part of it.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// The files of external data, each read once when the first tensor needs it.
    pub external: ExternalData,
}

impl SourceModel {
    /// The graph; [`read`] has made sure that there is one.
    pub fn graph(&self) -> Result<&pb::GraphProto> {
        self.proto.graph.as_ref().ok_or_else(|| Error::model(format!("{} holds no graph", self.path.display())))
    }

    /// A constant of this model, wherever its data lies.
    pub fn tensor(&self, proto: &pb::TensorProto) -> Result<ir::Tensor> {
        tensor::tensor_with(proto, &self.external)
    }
}

/// A model that nobody asks where it comes from: [`SourceModel`] without the hash.
#[derive(Debug, Clone)]
pub struct ModelFile {
    /// The decoded file. Every `raw_data` is a slice of the file's bytes, not a copy.
    pub proto: pb::ModelProto,
    /// The path that was given.
    pub path: PathBuf,
    /// The files of external data, each read once when the first tensor needs it.
    pub external: ExternalData,
}

impl ModelFile {
    /// The graph; [`open`] has made sure that there is one.
    pub fn graph(&self) -> Result<&pb::GraphProto> {
        self.proto.graph.as_ref().ok_or_else(|| Error::model(format!("{} holds no graph", self.path.display())))
    }

    /// A constant of this model, wherever its data lies.
    pub fn tensor(&self, proto: &pb::TensorProto) -> Result<ir::Tensor> {
        tensor::tensor_with(proto, &self.external)
    }
}

/// Reads the ONNX model in the file `path` without hashing it. Fails as [`read`] does.
pub fn open(path: impl AsRef<Path>) -> Result<ModelFile> {
    let path = path.as_ref();
    let (mut file, length) = regular(path)?;
    let data = whole::read(&mut file, length).map_err(Error::io("cannot read", path))?;
    listed::check(path, &data)?;
    Ok(ModelFile { proto: decoded(&data, path)?, path: path.to_path_buf(), external: ExternalData::new(files::parent(path)) })
}

/// Reads the ONNX model in the file `path`.
///
/// Model-local functions are written out, and nodes that are out of order are sorted.
///
/// Fails where the file is missing, is no ONNX model, stops before its end, or defines a name twice or nowhere; external data is looked at later.
pub fn read(path: impl AsRef<Path>) -> Result<SourceModel> {
    let path = path.as_ref();
    let (mut file, bytes) = regular(path)?;
    let (data, sha256) = read_hashed(&mut file, bytes).map_err(Error::io("cannot read", path))?;
    listed::check(path, &data)?;
    let mut proto = decoded(&data, path)?;
    valid(&mut proto).map_err(|why| Error::model(format!("{}: {why}", path.display())))?;
    let dir = files::parent(path).to_path_buf();
    Ok(SourceModel { proto, path: path.to_path_buf(), external: ExternalData::new(&dir), dir, sha256, bytes })
}

/// The files that the model in the file `path` is in: that one, and those that its tensors name, whether they can be used or not.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let found = std::cell::RefCell::new(vec![path.to_path_buf()]);
    if let Ok(model) = open(path) {
        tensor::any_tensor(&model.proto, &|t| {
            let locations =
                t.external_data.iter().filter(|e| t.data_location() == pb::tensor_proto::DataLocation::External && e.key() == "location");
            found.borrow_mut().extend(locations.map(|e| files::parent(path).join(e.value())));
            false
        });
    }
    let mut found = found.into_inner();
    found.dedup();
    found
}

/// Writes model-local functions out and sorts the nodes. Fails where names do not say what is computed from what.
fn valid(proto: &mut pb::ModelProto) -> Result<()> {
    inline_functions(proto)?;
    let Some(graph) = proto.graph.as_mut() else { return Ok(()) };
    put_in_order(graph)?;
    name_once(graph);
    name_nameless(graph);
    Ok(())
}

/// The file `path`, which must be a regular one with something in it, and its length.
fn regular(path: &Path) -> Result<(File, u64)> {
    let found = std::fs::metadata(path).map_err(Error::io("cannot read", path))?;
    if found.is_dir() {
        let way = sniff::in_folder(path).unwrap_or_else(|| "give the .onnx file in it".into());
        return Err(Error::model(format!("{} is a folder; {way}", path.display())));
    }
    if !found.is_file() {
        return Err(Error::model(format!("{} is not a regular file; save the model to disk first", path.display())));
    }
    if found.len() == 0 {
        return Err(Error::model(format!("{} is empty; export it again or download it again", path.display())));
    }
    regular::open(path).map_err(Error::io("cannot read", path))
}

fn decoded(data: &Bytes, path: &Path) -> Result<pb::ModelProto> {
    decode(data).map_err(|error| {
        let error = match (error, sniff::foreign(data)) {
            (_, Some(other)) => DecodeError::Damaged(other),
            (DecodeError::Damaged(why), None) => DecodeError::Damaged(format!("{why}; export it again or download it again")),
            (many, None) => many,
        };
        error.at(path, "is not an ONNX model or is truncated")
    })
}

/// Decodes and demands what every model has and a truncated file lacks.
fn decode(data: &Bytes) -> Result<pb::ModelProto, DecodeError> {
    let proto = wire::decode(data.clone())?;
    let lacks = match &proto.graph {
        None => "it holds no graph",
        Some(g) if g.node.is_empty() => "its graph has no nodes",
        // Writers put this after the graph: a file cut right behind the graph lacks it.
        Some(_) if proto.opset_import.is_empty() => "it names no operator set",
        Some(_) => return Ok(proto),
    };
    Err(DecodeError::Damaged(lacks.into()))
}

/// Reads `length` bytes while a second thread hashes what has arrived.
fn read_hashed(file: &mut File, length: u64) -> std::io::Result<(Bytes, String)> {
    let mut data = whole::buffer(length)?;
    let digest = thread::scope(|scope| {
        let (send, receive) = mpsc::channel::<&[u8]>();
        let hasher = thread::Builder::new().spawn_scoped(scope, move || {
            let mut hash = Sha256::new();
            receive.iter().for_each(|chunk| hash.update(chunk));
            hash.finalize()
        });
        // Where no thread is to be had, one does both.
        let Ok(hasher) = hasher else {
            file.read_exact(&mut data)?;
            return Ok(Sha256::digest(&data));
        };
        for chunk in data.chunks_mut(1 << 20) {
            file.read_exact(chunk)?;
            // The receiver lives until `send` is dropped.
            let _ = send.send(chunk);
        }
        drop(send);
        hasher.join().map_err(|_| std::io::Error::other("hashing failed"))
    })?;
    Ok((data.into(), sha256::hexadecimal(&digest)))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
