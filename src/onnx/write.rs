//! Writes models without a second copy of their weights in memory.

use super::external::refer_to;
use super::pb::{self, tensor_proto::DataLocation};
use super::tensor;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::files::{self, OutputFile};
use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

/// Protobuf's limit for one message: lengths are signed 32-bit numbers in most implementations.
const LIMIT: usize = i32::MAX as usize;

/// Weights of more bytes than this are better written outside of the model's file, which cannot exceed 2 GiB.
pub const INLINE_LIMIT: u64 = 1 << 30;

/// Tensors below this stay in the model file: shapes and axes must be readable without the other file.
const SMALLEST_EXTERNAL: usize = 1 << 10;

/// Writes `model` to `path`, replacing what is there. The file appears whole or not at all.
///
/// Fails for a model above protobuf's 2 GiB, and for one that still refers to external data (see
/// [`super::inline_external`]): the references would point into the wrong folder.
pub fn write(path: impl AsRef<Path>, model: &pb::ModelProto) -> Result<()> {
    write_to(OutputFile::create(path, true)?, model)
}

/// [`write()`]; gives the file's BLAKE3 hash.
pub fn write_hashed(path: impl AsRef<Path>, model: &pb::ModelProto) -> Result<String> {
    refuse_external(model)?;
    hash_of(stream(OutputFile::create(path, true)?.hashed(), model, |_| Ok(()))?.1)
}

/// [`write()`] into a file that was begun before, so that a name that cannot be used was refused early.
pub fn write_to(out: OutputFile, model: &pb::ModelProto) -> Result<()> {
    write_checked(out, model, |_| Ok(()))
}

/// [`write_to()`], where `check` sees the whole file before it gets its name. Fails, and there is no file, where `check` does.
pub fn write_checked<T>(out: OutputFile, model: &pb::ModelProto, check: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    refuse_external(model)?;
    Ok(stream(out, model, check)?.0)
}

fn refuse_external(model: &pb::ModelProto) -> Result<()> {
    match model.graph.iter().flat_map(|g| &g.initializer).find(|t| is_external(t)) {
        Some(t) => Err(Error::model(format!("tensor `{}` refers to external data of another folder; inline it before writing", t.name()))),
        None => Ok(()),
    }
}

fn hash_of(hash: Option<String>) -> Result<String> {
    hash.ok_or_else(|| Error::internal("a file was not hashed while it was written"))
}

/// Writes `model` to `path` with its large initializers in `weights`, which several models in one folder can share.
///
/// `model` itself then refers to the external file. Call [`ExternalWriter::finish`] after the last model. Gives the model file's BLAKE3 hash.
pub fn write_external(path: impl AsRef<Path>, model: &mut pb::ModelProto, weights: &mut ExternalWriter) -> Result<String> {
    let path = path.as_ref();
    let (here, there) = (std::path::absolute(files::parent(path)), std::path::absolute(files::parent(weights.out.path())));
    if !matches!((here, there), (Ok(a), Ok(b)) if a == b) {
        return Err(Error::usage(format!("{} and its external data must be in the same folder", path.display())));
    }
    for proto in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        weights.take(proto)?;
    }
    hash_of(stream(OutputFile::create(path, true)?.hashed(), model, |_| Ok(()))?.1)
}

fn is_external(proto: &pb::TensorProto) -> bool {
    proto.data_location == Some(DataLocation::External as i32)
}

fn stream<T>(out: OutputFile, model: &pb::ModelProto, check: impl FnOnce(&Path) -> Result<T>) -> Result<(T, Option<String>)> {
    let path = out.path().to_path_buf();
    let length = model.encoded_len();
    if length > LIMIT {
        let gib = length as f64 / (1u64 << 30) as f64;
        return Err(Error::usage(format!(
            "{} would be {gib:.1} GiB, and an ONNX file cannot exceed 2 GiB; use {} to put the weights in a file of their own",
            path.display(),
            Field::EXTERNAL_DATA
        )));
    }
    let mut out = Stream { out, failed: None, scratch: [0; 64] };
    model.encode_raw(&mut out);
    if let Some(e) = out.failed {
        return Err(Error::io("cannot write", &path)(e));
    }
    let checked = check(out.out.unfinished()?)?;
    let hash = out.out.commit_hashed()?;
    Ok((checked, hash))
}

/// Lets prost encode straight into a file. The first error is kept and everything after it dropped.
struct Stream {
    out: OutputFile,
    failed: Option<io::Error>,
    scratch: [u8; 64],
}

impl Stream {
    fn push(&mut self, data: &[u8]) {
        if self.failed.is_none() {
            // The file's buffer lets slices that are larger than itself pass without a copy.
            self.failed = self.out.write_all(data).err();
        }
    }
}

// SAFETY: `chunk_mut` gives initialised memory of this struct, and `advance_mut` reads no more than its length.
unsafe impl BufMut for Stream {
    fn remaining_mut(&self) -> usize {
        usize::MAX
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        UninitSlice::new(&mut self.scratch)
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        let scratch = self.scratch;
        self.push(scratch.get(..count).unwrap_or(&scratch));
    }

    fn put<T: Buf>(&mut self, mut source: T) {
        while source.has_remaining() {
            let part = source.chunk();
            self.push(part);
            let length = part.len();
            source.advance(length);
        }
    }

    fn put_slice(&mut self, data: &[u8]) {
        self.push(data);
    }
}

/// A file of weights that several models share; tensors with equal bytes are stored once.
#[derive(Debug)]
pub struct ExternalWriter {
    out: OutputFile,
    name: String,
    length: u64,
    /// By address. The bytes are held so that no other tensor can come to lie there.
    by_address: HashMap<(usize, usize), (u64, Bytes)>,
    by_content: HashMap<[u8; 32], u64>,
}

impl ExternalWriter {
    /// Starts the file `path`, such as `weights.bin`; it appears with [`ExternalWriter::finish`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let name = path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| Error::usage(format!("{} cannot be the name of a file of weights", path.display())))?;
        let out = OutputFile::create(path, true)?.hashed();
        Ok(ExternalWriter { out, name, length: 0, by_address: HashMap::new(), by_content: HashMap::new() })
    }

    /// Bytes so far, with the gaps that alignment leaves.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing has been stored so far.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Moves the data of `proto` to the file if it is large enough.
    fn take(&mut self, proto: &mut pb::TensorProto) -> Result<()> {
        if is_external(proto) {
            return Err(Error::model(format!("tensor `{}` refers to other external data; inline it before writing", proto.name())));
        }
        let elements = proto.dims.iter().try_fold(1i64, |a, &b| a.checked_mul(b)).unwrap_or(i64::MAX);
        // Elements have at most 8 bytes: below this no look at the data is needed.
        if elements < SMALLEST_EXTERNAL as i64 / 8 || proto.data_type == Some(pb::tensor_proto::DataType::String as i32) {
            return Ok(());
        }
        let data = tensor::tensor(proto, Path::new("."))?.bytes().clone();
        if data.len() < SMALLEST_EXTERNAL {
            return Ok(());
        }
        let offset = self.add(&data)?;
        refer_to(proto, &self.name, offset, data.len());
        Ok(())
    }

    /// Stores `data` unless it is there already; its offset.
    fn add(&mut self, data: &Bytes) -> Result<u64> {
        let address = (data.as_ptr() as usize, data.len());
        if let Some((offset, _)) = self.by_address.get(&address) {
            return Ok(*offset);
        }
        let digest: [u8; 32] = Sha256::digest(data).into();
        let offset = match self.by_content.get(&digest) {
            Some(&offset) => offset,
            None => {
                let offset = self.append(data).map_err(Error::io("cannot write", self.out.path()))?;
                self.by_content.insert(digest, offset);
                offset
            }
        };
        self.by_address.insert(address, (offset, data.clone()));
        Ok(offset)
    }

    fn append(&mut self, data: &[u8]) -> io::Result<u64> {
        // Pages for what a runtime would map, cache lines for the rest.
        let alignment: u64 = if data.len() >= 64 << 10 { 4096 } else { 64 };
        let offset = self.length.next_multiple_of(alignment);
        let gap = offset.saturating_sub(self.length) as usize;
        self.out.write_all([0; 4096].get(..gap).unwrap_or_default())?;
        self.out.write_all(data)?;
        self.length = offset.saturating_add(data.len() as u64);
        Ok(offset)
    }

    /// Gives the file its name. Gives its BLAKE3 hash.
    pub fn finish(self) -> Result<String> {
        hash_of(self.out.commit_hashed()?)
    }
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
