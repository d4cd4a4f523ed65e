//! Gradients of single samples, for estimators that square before they sum.
//!
//! A graph has `rows` rows of forward values, and `copies` cotangents for each of them: the classes of one image, say. That
//! makes `N = rows·copies` samples; number `r·copies + c` belongs to row `r`. Forward values stay as they are, once per row: a
//! rule reads them for all cotangents of the row together.

use super::Grad;
use crate::ir::ValueId;

/// What a rule for single samples is given. The cotangents have N rows, the node's inputs and outputs `rows`.
pub struct Samples {
    pub grad: Grad,
    pub rows: usize,
    pub copies: usize,
}

/// A parameter's gradient for each sample.
#[derive(Debug, Clone)]
pub enum PerSample {
    /// `value` is `[N, …]`. Its further axes in `order` (counted from 0 without the samples' axis), then reshaped, make the
    /// parameter.
    Dense { value: ValueId, order: Vec<usize> },
    /// `leftₙ ⊗ rightₙ` of the parameter's two axes. Each factor has N rows or one per forward row.
    Outer { left: ValueId, right: ValueId },
}

impl Samples {
    /// N.
    pub fn count(&self) -> usize {
        self.rows * self.copies
    }
}
