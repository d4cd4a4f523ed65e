//! What an import is told.

use crate::ir::Dim;

/// The batch size that a graph is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    Fixed(usize),
    /// The symbol `N`.
    Dynamic,
}

impl From<BatchSize> for Dim {
    fn from(b: BatchSize) -> Dim {
        match b {
            BatchSize::Fixed(n) => Dim::Known(n),
            BatchSize::Dynamic => Dim::Batch(1),
        }
    }
}

/// What the model itself does not say.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// For which batches.
    pub batch: BatchSize,
    /// Sizes after the batch dimension, instead of the model's own.
    pub input_shape: Option<Vec<usize>>,
    /// Keep one parameter where the exporter wrote one initializer for several of equal value.
    pub keep_ties: bool,
}
