//! The files of an artifact as they are written: each large one by a thread of its own, since most of that is waiting for the disk.

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::onnx::{self, ExternalWriter, INLINE_LIMIT, pb};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Weights above this many bytes are worth a thread that writes them.
const LARGE: u64 = 1 << 20;

/// Models that go into one folder.
pub(super) struct Files {
    dir: PathBuf,
    weights: Option<ExternalWriter>,
    external: bool,
    /// Names with hashes.
    written: Vec<(String, String)>,
    writers: Vec<(String, JoinHandle<Result<String>>)>,
}

impl Drop for Files {
    /// After an error elsewhere, nobody may still write into the folder when it is removed.
    fn drop(&mut self) {
        for (_, writer) in self.writers.drain(..) {
            let _ = writer.join();
        }
    }
}

impl Files {
    /// Into the folder `dir`; with `external` all weights go into one file, else only what one file of protobuf cannot hold.
    pub fn new(dir: &Path, external: bool) -> Files {
        Files { dir: dir.to_path_buf(), weights: None, external, written: vec![], writers: vec![] }
    }

    /// Writes a model.
    pub fn write(&mut self, name: &str, mut model: pb::ModelProto) -> Result<()> {
        let path = self.dir.join(name);
        let tensors = model.graph.iter().chain(model.training_info.iter().flat_map(|t| [&t.algorithm, &t.initialization]).flatten());
        let size: u64 = tensors.flat_map(|g| &g.initializer).map(|t| t.raw_data.as_ref().map_or(0, |d| d.len() as u64)).sum();
        let name = name.to_string();
        if self.external || size > INLINE_LIMIT {
            let weights = match &mut self.weights {
                Some(weights) => weights,
                none => none.insert(ExternalWriter::create(self.dir.join(Bundle::WEIGHTS))?),
            };
            self.written.push((name, onnx::write_external(&path, &mut model, weights)?));
        } else if size > LARGE {
            // The weights themselves are shared with the source, not copied.
            let model = Arc::new(model);
            let shared = (path.clone(), model.clone());
            match std::thread::Builder::new().spawn(move || onnx::write_hashed(&shared.0, &shared.1)) {
                Ok(writer) => self.writers.push((name, writer)),
                // No thread is to be had.
                Err(_) => self.written.push((name, onnx::write_hashed(&path, &model)?)),
            }
        } else {
            self.written.push((name, onnx::write_hashed(&path, &model)?));
        }
        Ok(())
    }

    /// Writes a model that keeps its weights.
    pub fn write_whole(&mut self, name: &str, model: &pb::ModelProto) -> Result<()> {
        let hash = onnx::write_hashed(self.dir.join(name), model)?;
        self.written.push((name.into(), hash));
        Ok(())
    }

    /// The names of all files with their hashes, in the order of `order`, not in that in which threads end.
    pub fn finish(mut self, order: &[&str]) -> Result<Vec<(String, String)>> {
        while let Some((name, writer)) = self.writers.pop() {
            let hash = writer.join().map_err(|_| Error::internal(format!("writing {name} crashed")))??;
            self.written.push((name, hash));
        }
        if let Some(weights) = self.weights.take() {
            self.written.push((Bundle::WEIGHTS.into(), weights.finish()?));
        }
        let place = |name: &str| order.iter().position(|n| *n == name).unwrap_or(order.len());
        self.written.sort_by_key(|(name, _)| place(name));
        Ok(std::mem::take(&mut self.written))
    }
}
