//! Models with ONNX's preview operators for training, in standard operators.

use crate::emit::{self, Dialect};
use crate::error::Result;
use crate::import;
use crate::onnx::{self, pb};
use std::path::{Path, PathBuf};

/// A model that any runtime of standard operators can run.
#[derive(Debug)]
pub struct Lowered {
    /// With the inputs, outputs and names that it had.
    pub model: pb::ModelProto,
    /// How many nodes of each preview operator there were.
    pub replaced: Vec<(String, usize)>,
    /// The files of its weights.
    pub read: Vec<PathBuf>,
}

/// Reads the model at `path` and replaces every `Gradient`, `Adam`, `Adagrad` and `Momentum` of `ai.onnx.preview.training`. Fails with every node that is not
/// supported.
pub fn lower(path: &Path) -> Result<Lowered> {
    let source = onnx::read(path)?;
    let import::Lowering { graph, replaced } = import::lowered(&source)?;
    let mut model = emit::model(&graph, Dialect::Inlined)?;
    model.metadata_props = source.proto.metadata_props.clone();
    Ok(Lowered { model, replaced, read: source.external.paths() })
}
