//! Losses: from what the network computes to scalars that are minimised, and their gradients in closed form. The data loss reads logits
//! and target; the regularizers of the table read what the source network computes for the same images, or the batch's features.

pub(crate) mod bss;
pub(crate) mod cross_entropy;
pub(crate) mod delta;
pub(crate) mod lwf;

pub use cross_entropy::cross_entropy;

use crate::error::{Error, Result};
use crate::ir::{Attrs, DType, Dim, Tensor, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::{Expr, formula};
use serde::{Deserialize, Serialize};

/// `(target) → number of rows that count`.
pub const ROW_COUNT: Function = Function::new("RowCount");

/// `(target) → the share of each row in the mean`.
pub const ROW_SHARES: Function = Function::new("RowShares");

/// What a loss adds to the graph.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// The mean over the batch, a scalar.
    pub value: ValueId,
    /// `∂value / ∂logits`, of the logits' shape.
    pub gradient: ValueId,
    /// How many targets have the largest logit: a scalar of the logits' type.
    pub correct: ValueId,
}

/// What of the network a regularizer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Feature maps of some layers, and the source network's for the same images.
    FeatureMaps,
    /// The input of the classifier, `[N, D]`.
    Features,
    /// The source's classes: the old classifier on the tuned features, and the source network's own logits, both `[N, K]`.
    SourceLogits,
}

/// Numbers that regularizers have besides their strength.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// T of `lwf`.
    pub temperature: f64,
    /// k of `bss`.
    pub singular_values: usize,
}

impl Default for Settings {
    /// Those of the Transfer-Learning-Library.
    fn default() -> Self {
        Settings { temperature: 3.0, singular_values: 1 }
    }
}

/// One place at which a regularizer acts.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// What the network that is trained computes; its first axis is the batch.
    pub tuned: ValueId,
    /// The axis of its channels.
    pub axis: usize,
    /// What the source network computes there, for what reads it.
    pub source: Option<ValueId>,
    /// Weights of the channels, `[C]`; uniform where there are none.
    pub attention: Option<ValueId>,
    /// Of each image the weight in the mean, `[N]`: see [`shares`].
    pub shares: ValueId,
    /// A scalar of rank 0.
    pub strength: ValueId,
}

impl Seen {
    fn source(&self) -> Rule<ValueId> {
        self.source.ok_or_else(|| "the regularizer needs what the source network computes".into())
    }
}

/// What a regularizer adds for one place.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// A scalar of rank 0, strength included.
    pub value: ValueId,
    /// `∂value / ∂tuned`.
    pub gradient: ValueId,
}

/// A loss beside the data loss, on what the network computes rather than on its parameters.
pub trait Regularizer: Sync {
    /// The name on the command line and in the manifest, and of the scalar input with its strength.
    fn kind(&self) -> &'static str;

    fn default_strength(&self) -> f64;

    fn reads(&self) -> Reads;

    /// The term for one place: one function of the domain `ai.spgraph`.
    fn term(&self, b: &mut Builder, seen: &Seen, settings: &Settings) -> Rule<Term>;
}

/// Every regularizer.
pub static REGULARIZERS: &[&dyn Regularizer] = &[&delta::Delta, &bss::Bss, &lwf::Lwf];

/// The regularizer of that name.
pub fn find(kind: &str) -> Result<&'static dyn Regularizer> {
    REGULARIZERS.iter().copied().find(|r| r.kind() == kind).ok_or_else(|| {
        let names: Vec<_> = REGULARIZERS.iter().map(|r| r.kind()).collect();
        Error::usage(format!("there is no regularizer `{kind}`; choose from {}", names.join(", ")))
    })
}

/// Of each row its weight in a mean over the batch: 1/n for those that count, 0 where the target is −1 (padding). `[N]`.
pub fn shares(b: &mut Builder, target: ValueId, dtype: DType) -> Rule<ValueId> {
    let rule = formula(|[target]| {
        let counts = counts(target, dtype);
        [counts / counts.sum(&[0], true).max(1.0)]
    });
    let [shares] = b.call(&ROW_SHARES, [target], Attrs::new(), rule)?;
    Ok(shares)
}

/// The number of rows that a mean over the batch divides by: those whose target is not −1 (padding), at least 1. A float32 of rank 0.
pub fn count(b: &mut Builder, target: ValueId) -> Rule<ValueId> {
    let rule = formula(|[target]| [counts(target, DType::F32).sum(&[0], false).max(1.0)]);
    let [count] = b.call(&ROW_COUNT, [target], Attrs::new(), rule)?;
    Ok(count)
}

/// 1 for each row that counts, 0 for padding.
fn counts(target: Expr<'_>, dtype: DType) -> Expr<'_> {
    let zero = target.constant(Tensor::from_i64(&[1], &[0]));
    target.with_both(zero, |b, target, zero| b.op("GreaterOrEqual", &[target, zero], Attrs::new())).cast(dtype)
}

/// A vector `[N]` or a scalar of rank 0, with as many axes as `like`: along the first one, the others of length 1.
fn column<'f>(v: Expr<'f>, like: Expr<'f>) -> Expr<'f> {
    v.with_both(like, |b, v, like| {
        let first = b.shape(v).first().copied().unwrap_or(Dim::Known(1));
        let shape: Vec<Dim> = std::iter::once(first).chain(std::iter::repeat(Dim::Known(1))).take(b.rank(like)).collect();
        b.reshape(v, &shape)
    })
}
