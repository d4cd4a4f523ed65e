//! The attention weights that DELTA reads: the file must be of this very model and have a weight for each channel.

use super::taps::Tap;
use crate::error::{Error, Result};
use crate::ir::{Graph, ValueId};
use crate::storage::channel_attention_file::{self, AttentionFile};
use std::path::{Path, PathBuf};

pub(super) struct Attention {
    file: AttentionFile,
    path: PathBuf,
}

impl Attention {
    /// Fails, with the reason, where the file is of another model than that of the given hash, or damaged.
    pub fn read(path: &Path, sha256: &str) -> Result<Attention> {
        let file = channel_attention_file::read(path)?;
        let own = Attention { file, path: path.to_path_buf() };
        let found = &own.file.info.source.sha256;
        if found != sha256 {
            let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
            return Err(own.bad(format!("it is of another model (SHA-256 {}…, the source model has {}…)", short(found), short(sha256))));
        }
        Ok(own)
    }

    fn bad(&self, why: String) -> Error {
        Error::model(format!(
            "the attention file {} cannot be used: {why}. Measure it with `spgraph attention` on a run that started from this very model",
            self.path.display()
        ))
    }

    /// The weights of a layer's channels, as a constant of the graph.
    pub fn of(&mut self, graph: &mut Graph, tap: &Tap) -> Result<ValueId> {
        let channels = graph.ty(tap.value).shape.get(tap.axis).and_then(|d| d.known());
        let channels = channels.ok_or_else(|| Error::internal(format!("the channels of `{}` are not known", tap.alias)))?;
        let Some(tensor) = self.file.tensors.get(&tap.weight) else {
            let known: Vec<&str> = self.file.tensors.keys().map(String::as_str).collect();
            return Err(self.bad(format!("it lacks {}, and has {}", tap.weight, super::patterns::few(known.into_iter()))));
        };
        if tensor.shape() != [channels] {
            return Err(self.bad(format!(
                "`{}` has the shape {:?} in it, and the layer has {channels} channels",
                tap.weight,
                tensor.shape()
            )));
        }
        let dtype = graph.ty(tap.value).dtype;
        let tensor = tensor.cast(dtype)?;
        Ok(graph.constant(&format!("{}.attention", tap.weight), tensor))
    }
}
