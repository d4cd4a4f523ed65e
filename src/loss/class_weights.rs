//! Losses in which an image weighs what its class weighs, and whose mean is a weighted one.

use crate::ir::{DType, Dim, Tensor};
use crate::ops::blocks::Expr;

/// The weights of rows, for `weights` of the classes, `[K]`.
pub(super) struct RowWeights<'f> {
    /// Of each row, `[N, 1]`; 0 where its label, such as the −1 of padding, is no class.
    pub rows: Expr<'f>,
    /// Their sum, which the mean divides by, `[1, 1]`.
    pub sum: Expr<'f>,
}

pub(super) fn row_weights<'f>(target: Expr<'f>, weights: Expr<'f>, rows: Dim, classes: usize, dtype: DType) -> RowWeights<'f> {
    let column = target.reshape(&[rows, 1.into()]);
    let labels = column.constant(Tensor::from_i64(&[1, classes], &(0..classes as i64).collect::<Vec<_>>()));
    let one_hot = column.equals(labels).cast(dtype);
    let rows = (one_hot * weights.reshape(&[1.into(), classes.into()])).sum(&[1], true);
    // A batch of images that weigh nothing has no loss.
    RowWeights { rows, sum: rows.sum(&[0, 1], true).max(1e-30) }
}
