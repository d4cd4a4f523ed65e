//! What the scores of an image should be.

use crate::ir::{DType, Dim, Tensor};
use crate::ops::blocks::Expr;

/// Targets of a loss in a formula.
pub(super) struct Targets<'f> {
    /// `[N, K]`: 1 for the right class and 0 for the others, smoothed; a single score is to be the label itself, 0 or 1.
    pub scores: Expr<'f>,
    /// `[N, 1]`: 1 for each row that counts. A row does not count where its label, such as the −1 of padding, is no class.
    pub counts: Expr<'f>,
}

/// From labels `[N]` to scores `[N, K]`.
pub(super) fn targets<'f>(target: Expr<'f>, rows: Dim, scores: usize, dtype: DType, label_smoothing: f64) -> Targets<'f> {
    let column = target.reshape(&[rows, 1.into()]);
    let labels = |list: &[i64]| column.constant(Tensor::from_i64(&[1, list.len()], list));
    let classes = super::class_count(scores);
    let one_hot = column.equals(labels(&(0..classes as i64).collect::<Vec<_>>())).cast(dtype);
    let counts = one_hot.sum(&[1], true);
    let hot = if scores == 1 { column.equals(labels(&[1])).cast(dtype) } else { one_hot };
    let smooth = if label_smoothing > 0.0 { hot * (1.0 - label_smoothing) + counts * (label_smoothing / classes as f64) } else { hot };
    Targets { scores: smooth, counts }
}

/// How many rows have their class as the largest of `[N, K]` scores; of a single score whether it is above `threshold` just where the label is 1.
pub(super) fn correct<'f>(scores: Expr<'f>, target: Expr<'f>, rows: Dim, count: usize, threshold: f64) -> Expr<'f> {
    use crate::ir::Attr;
    use crate::operator::attrs;
    let best = match count {
        1 => scores.greater(threshold).cast(DType::I64).reshape(&[rows]),
        _ => scores.with(|b, z| b.op("ArgMax", &[z], attrs([("axis", Attr::Int(1)), ("keepdims", Attr::Int(0))]))),
    };
    best.equals(target).cast(DType::F32).sum(&[0], false)
}

/// The score that `label` asks of place `k`.
pub(super) fn asked(scores: usize, label: usize, k: usize) -> f64 {
    let hot = if scores == 1 { label == 1 } else { label == k };
    if hot { 1.0 } else { 0.0 }
}
