//! Gradients of single samples, for estimators that square before they sum.
//!
//! A graph has `rows` rows of forward values, and `copies` cotangents for each of them: the classes of one image, say. That
//! makes `N = rows·copies` samples; number `r·copies + c` belongs to row `r`. Forward values stay as they are, once per row: a
//! rule reads them for all cotangents of the row together.

use super::Grad;
use crate::ir::ValueId;

/// What a rule for single samples is given. The cotangents have N rows, the node's inputs and outputs `rows`.
pub struct Samples {
    /// As for the gradient of the whole batch.
    pub grad: Grad,
    /// Rows of forward values.
    pub rows: usize,
    /// Cotangents for each of them.
    pub copies: usize,
}

/// A parameter's gradient for each sample.
#[derive(Debug, Clone)]
pub enum PerSample {
    /// As one tensor.
    Dense {
        /// `[N, …]`.
        value: ValueId,
        /// The order in which its further axes (counted from 0 without the samples' axis), then reshaped, make the parameter.
        order: Vec<usize>,
    },
    /// `leftₙ ⊗ rightₙ` of the parameter's two axes. Each factor has N rows or one per forward row.
    Outer {
        /// Along the parameter's first axis.
        left: ValueId,
        /// Along its second axis.
        right: ValueId,
    },
}

impl Samples {
    /// N.
    pub fn count(&self) -> usize {
        self.rows.saturating_mul(self.copies)
    }
}
