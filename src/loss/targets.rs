//! What the scores of an image should be: labels, or soft targets with a number for every score.

use super::SoftTargets;
use crate::ir::{Attr, DType, Dim, Tensor, ValueId};
use crate::operator::{Builder, Rule, attrs};
use crate::ops::blocks::Expr;

/// What a target input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// Labels, int64 `[N]`.
    Labels,
    /// Numbers of the scores' type, `[N, K]`.
    Soft(SoftTargets),
}

impl Given {
    /// What `target` is to a loss whose soft targets are `soft`. Fails where its shape does not fit `scores`.
    pub fn of(b: &Builder, target: ValueId, soft: SoftTargets, scores: ValueId) -> Rule<Given> {
        if !b.dtype(target).is_float() {
            return Ok(Given::Labels);
        }
        match b.ty(target) == b.ty(scores) {
            true => Ok(Given::Soft(soft)),
            false => Err(format!("the loss needs targets like the scores, {}, these are {}", b.ty(scores), b.ty(target))),
        }
    }

    /// What the scores should be, smoothed, and which rows count.
    pub fn targets<'f>(self, target: Expr<'f>, rows: Dim, scores: usize, dtype: DType, label_smoothing: f64) -> Targets<'f> {
        let classes = super::class_count(scores);
        let (hot, counts) = match self {
            Given::Labels => {
                let column = target.reshape(&[rows, 1.into()]);
                let labels = |list: &[i64]| column.constant(Tensor::from_i64(&[1, list.len()], list));
                // A label of −1 equals no class: its row of the one-hot matrix is zero.
                let one_hot = column.equals(labels(&(0..classes as i64).collect::<Vec<_>>())).cast(dtype);
                let counts = one_hot.sum(&[1], true);
                (if scores == 1 { column.equals(labels(&[1])).cast(dtype) } else { one_hot }, counts)
            }
            Given::Soft(kind) => {
                let counts = soft_rows(target, kind, dtype);
                (target * counts, counts)
            }
        };
        let smooth = if label_smoothing > 0.0 { hot * (1.0 - label_smoothing) + counts * (label_smoothing / classes as f64) } else { hot };
        Targets { scores: smooth, counts }
    }

    /// How many rows that count are right: their class has the largest of `[N, K]` scores, or a single score is above `threshold` just where its
    /// target is 1 or nearer to it than to 0. Where each class is right or wrong by itself, a row is right with all of them on their sides.
    pub fn correct<'f>(self, scores: Expr<'f>, target: Expr<'f>, rows: Dim, count: usize, threshold: f64) -> Expr<'f> {
        let largest = |v: Expr<'f>| v.with(|b, v| b.op("ArgMax", &[v], attrs([("axis", Attr::Int(1)), ("keepdims", Attr::Int(0))])));
        let above = |v: Expr<'f>, threshold: f64| v.greater(threshold).cast(DType::I64);
        match self {
            Given::Labels if count == 1 => above(scores, threshold).reshape(&[rows]).equals(target).cast(DType::F32).sum(&[0], false),
            Given::Labels => largest(scores).equals(target).cast(DType::F32).sum(&[0], false),
            Given::Soft(kind) => {
                let counts = soft_rows(target, kind, DType::F32);
                let right = if count == 1 || kind == SoftTargets::Each {
                    let sides = above(scores, threshold).equals(above(target, 0.5)).cast(DType::F32).sum(&[1], true);
                    sides.greater(count as f64 - 0.5).cast(DType::F32)
                } else {
                    largest(scores).equals(largest(target)).cast(DType::F32).reshape(&[rows, 1.into()])
                };
                (right * counts).sum(&[0, 1], false)
            }
        }
    }
}

/// How many rows a target has.
pub(super) fn rows_of(b: &Builder, target: ValueId) -> Rule<Dim> {
    b.shape(target).first().copied().ok_or_else(|| format!("the loss needs a target for each image, these are {}", b.ty(target)))
}

/// How many rows and scores for each a loss reads, of `[N, K]`; it says that it needs `what` where these are none.
pub(super) fn sizes_of(b: &Builder, scores: ValueId, what: &str) -> Rule<(Dim, usize)> {
    match b.shape(scores) {
        &[rows, Dim::Known(count)] => Ok((rows, count)),
        _ => Err(format!("the loss needs {what} of shape [N, classes], these are {}", b.ty(scores))),
    }
}

/// Targets of a loss in a formula.
pub(super) struct Targets<'f> {
    /// `[N, K]`: 1 for the right class and 0 for the others, or the soft targets, smoothed; 0 in rows that don't count. A single score is to be the
    /// label itself, 0 or 1.
    pub scores: Expr<'f>,
    /// `[N, 1]`: 1 for each row that counts. A row does not count where its label, such as the −1 of padding, is no class.
    pub counts: Expr<'f>,
}

/// 1 for each row of soft targets that counts, 0 for padding: `[N, 1]`.
pub(super) fn soft_rows<'f>(targets: Expr<'f>, kind: SoftTargets, dtype: DType) -> Expr<'f> {
    let least = match kind {
        SoftTargets::Probabilities => return targets.sum(&[1], true).greater(0.0).cast(dtype),
        SoftTargets::Each => 0.0,
        SoftTargets::Numbers => super::PADDING / 10.0,
    };
    (1.0 - targets.less(least).cast(dtype).sum(&[1], true)).relu()
}

/// The score that `label` asks of place `k`.
pub(super) fn asked(scores: usize, label: usize, k: usize) -> f64 {
    let hot = if scores == 1 { label == 1 } else { label == k };
    if hot { 1.0 } else { 0.0 }
}
