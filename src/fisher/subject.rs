//! A network as an object of the estimation.

use crate::error::Result;
use crate::import::{BatchSize, ImportOptions, Imported, import};
use crate::ir::{TensorType, ValueId};
use crate::onnx::SourceModel;
use crate::rewrite;
use std::collections::HashSet;

/// What can be known of a model before the size of its batches is chosen.
#[derive(Debug, Clone)]
pub struct FisherSubject {
    /// Type and shape of the input; the batch is 1.
    pub input: TensorType,
    pub input_name: String,
    pub classes: usize,
    /// Bytes of all forward values of one image, and of the largest parameter.
    pub activations: usize,
    pub largest: usize,
}

pub(super) fn imported(source: &SourceModel, input_shape: &Option<Vec<usize>>, rows: usize) -> Result<Imported> {
    let options = ImportOptions {
        batch: BatchSize::Fixed(rows),
        input_shape: input_shape.clone(),
        batch_norm_train: false,
        frozen: HashSet::new(),
        keep_ties: false,
    };
    import(source, &options)
}

/// Looks at the model. Fails where it is no classifier.
pub fn look(source: &SourceModel, input_shape: &Option<Vec<usize>>) -> Result<FisherSubject> {
    let Imported { graph, input, parameters, .. } = imported(source, input_shape, 1)?;
    let bytes = |v: ValueId| graph.ty(v).dims().map_or(0, |d| d.iter().product::<usize>() * graph.ty(v).dtype.size());
    let activations = graph.ids().filter(|&v| graph.value(v).constant.is_none()).map(bytes).sum();
    Ok(FisherSubject {
        input: graph.ty(input).clone(),
        input_name: graph.name_of(input).to_string(),
        classes: rewrite::classes(&graph)?,
        activations,
        largest: parameters.iter().map(|p| bytes(p.value)).max().unwrap_or(0),
    })
}
