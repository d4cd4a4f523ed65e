//! What an import is told.

use crate::ir::Dim;
use std::collections::HashSet;

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
    pub batch: BatchSize,
    /// Sizes after the batch dimension, instead of the model's own.
    pub input_shape: Option<Vec<usize>>,
    /// Use batch statistics in BatchNormalization, except where the scale is one of `frozen`.
    pub batch_norm_train: bool,
    pub frozen: HashSet<String>,
    /// Keep one parameter where the exporter wrote one initializer for several of equal value.
    pub keep_ties: bool,
}
