//! Losses: from what the network computes to scalars that are minimised, and their gradients in closed form. The data losses read logits
//! or outputs, and the target; the regularizers of the table read what the source network computes for the same images, or the batch's features.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod activation;
pub(crate) mod binary_cross_entropy;
pub(crate) mod bss;
mod class_weights;
pub(crate) mod cross_entropy;
pub(crate) mod delta;
pub(crate) mod lwf;
pub(crate) mod mean_squared_error;
mod targets;

pub use activation::Activation;
pub use binary_cross_entropy::{BinaryCrossEntropy, multi_label};
pub use bss::Bss;
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use delta::Delta;
pub use lwf::Lwf;
pub use mean_squared_error::MeanSquaredError;

use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Attrs, DType, Dim, Tensor, ValueId};
use crate::kinds::kinds;
use crate::nearest::hint;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::{Expr, formula};
use serde_json::Value;
use std::path::Path;

/// `(target) → number of rows that count`.
pub const ROW_COUNT: Function = Function::float32("RowCount");

/// `(target) → the share of each row in the mean`.
pub const ROW_SHARES: Function = Function::float32("RowShares");

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

/// What soft targets are: numbers for every score of an image, in the place of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftTargets {
    /// Probabilities of classes that exclude each other. Rows of zeros, or of [`PADDING`], are padding.
    Probabilities,
    /// For each class by itself how right it is, from 0 to 1. Rows with a negative number are padding.
    Each,
    /// Any numbers. Rows with [`PADDING`] are padding.
    Numbers,
}

/// In every place of a row of soft targets: the row only fills the batch up. Every loss understands it.
pub const PADDING: f64 = -1e30;

/// A loss on scores of classes and the classes that are right.
pub trait DataLoss: Sync {
    /// The name in files and on the command line.
    fn kind(&self) -> &'static str;

    /// What it is, in a few words for people.
    fn summary(&self) -> &'static str;

    /// Whether it reads what the network gives out; otherwise the logits before the activation.
    fn reads_output(&self) -> bool {
        false
    }

    /// What its targets are where they are no labels.
    fn soft_targets(&self) -> SoftTargets;

    /// Why it does not fit a network with that activation and that many scores for each image, where it does not.
    fn refusal(&self, activation: Activation, scores: usize) -> Option<String>;

    /// Adds it to a graph. `scores` is `[N, K]`; `target` int64 `[N]`, −1 for padding, or soft targets, of the scores' type and shape; `label_smoothing` is what is taken from the right class
    /// and given to all alike.
    fn add(&self, b: &mut Builder, scores: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss>;

    /// The function that [`DataLoss::add`] calls, and the one with weights of the classes.
    fn functions(&self) -> [&'static Function; 2];

    /// The body of the second one: `inputs` are those of [`DataLoss::add`] and the weight of each class, `[K]`. An image weighs what its class weighs, and
    /// the mean is a weighted one, as in PyTorch's `CrossEntropyLoss(weight=…)`.
    fn weighted(&self, b: &mut Builder, inputs: [ValueId; 3], label_smoothing: f64) -> Rule<Loss>;

    /// The loss of one image for which the network gives `given`, without label smoothing.
    fn value(&self, activation: Activation, given: &[f64], label: usize) -> f64;

    /// The same with a number for every score in the place of a label, see [`DataLoss::soft_targets`].
    fn soft_value(&self, activation: Activation, given: &[f64], targets: &[f64]) -> f64;

    /// What the network says with `given` about each class; of a single score about two classes, of which it stands for the second.
    fn probabilities(&self, activation: Activation, given: &[f64]) -> Vec<f64>;
}

impl std::fmt::Debug for dyn DataLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

/// Every data loss.
pub static LOSSES: &[&dyn DataLoss] = &[&CrossEntropy, &BinaryCrossEntropy, &MeanSquaredError];

/// The data loss of that name.
pub fn data_loss(kind: &str) -> Result<&'static dyn DataLoss> {
    LOSSES.iter().copied().find(|l| l.kind() == kind).ok_or_else(|| {
        let names: Vec<_> = LOSSES.iter().map(|l| l.kind()).collect();
        Error::option(Field::LOSS, format!(" '{kind}' does not exist; choose from {}{}", names.join(", "), hint(kind, &names)))
    })
}

/// The loss of a network where nobody chooses one: each class by itself behind a sigmoid, else all against each other.
pub fn usual(activation: Activation) -> &'static dyn DataLoss {
    if activation == Activation::Sigmoid { &BinaryCrossEntropy } else { &CrossEntropy }
}

/// How many classes that many scores tell apart.
pub fn class_count(scores: usize) -> usize {
    scores.max(2)
}

/// What of the network a regularizer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads<'a> {
    /// Feature maps of some layers, and the source network's for the same images.
    FeatureMaps {
        /// Patterns on the weights of the layers; with none given the last convolution of each residual stage.
        layers: &'a [String],
        /// The file of `spgraph attention` with weights of the channels.
        attention: Option<&'a Path>,
    },
    /// The input of the classifier, `[N, D]`.
    Features,
    /// The source's classes: the old classifier on the tuned features, and the source network's own logits, both `[N, K]`.
    SourceLogits,
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
pub trait Regularize {
    /// The default of the scalar input with its strength.
    fn strength(&self) -> f64;

    /// Sets another default strength.
    fn set_strength(&mut self, strength: f64);

    /// What of the network it reads.
    fn reads(&self) -> Reads<'_>;

    /// Fails where its own settings make no sense.
    fn check(&self) -> Result<()>;

    /// The settings that the manifest tells beside strength and layers, by name.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![]
    }

    /// What it does, in a few words for people, where it acts on these layers.
    fn summary(&self, layers: &[String]) -> String;

    /// The term for one place: one function of the domain `ai.spgraph`.
    fn term(&self, b: &mut Builder, seen: &Seen) -> Rule<Term>;
}

kinds! {
    /// A regularizer with its settings.
    Regularizer: Regularize;
    /// Every regularizer, with its usual settings.
    REGULARIZERS = [
        /// Feature maps stay near the source network's.
        "delta" => Delta,
        /// The smallest singular values of the batch's features vanish.
        "bss" => Bss,
        /// What the old classifier says about the new images stays.
        "lwf" => Lwf,
    ];
}

/// The regularizer of that name, with its usual settings.
pub fn find(kind: &str) -> Result<Regularizer> {
    REGULARIZERS.iter().map(|usual| usual()).find(|r| r.kind() == kind).ok_or_else(|| {
        let (names, meant) = (Regularizer::KINDS.join(", "), hint(kind, Regularizer::KINDS));
        Error::usage(format!("there is no regularizer `{kind}`; choose from {names}{meant}"))
    })
}

/// Of each row its weight in the mean of `loss` over the batch: 1/n for those that count, 0 for padding. `[N]`.
pub fn shares(b: &mut Builder, target: ValueId, loss: &dyn DataLoss, dtype: DType) -> Rule<ValueId> {
    let soft = b.dtype(target).is_float().then(|| loss.soft_targets());
    let rule = formula(|[target]| {
        let counts = counts(target, soft, dtype);
        [counts / counts.sum(&[0], true).max(1.0)]
    });
    let [shares] = b.call(&ROW_SHARES, [target], Attrs::new(), rule)?;
    Ok(shares)
}

/// The number of rows that the mean of `loss` over the batch divides by: those that are no padding, at least 1. A float32 of rank 0.
pub fn count(b: &mut Builder, target: ValueId, loss: &dyn DataLoss) -> Rule<ValueId> {
    let soft = b.dtype(target).is_float().then(|| loss.soft_targets());
    let rule = formula(|[target]| [counts(target, soft, DType::F32).sum(&[0], false).max(1.0)]);
    let [count] = b.call(&ROW_COUNT, [target], Attrs::new(), rule)?;
    Ok(count)
}

/// 1 for each row that counts, 0 for padding: `[N]`.
fn counts(target: Expr<'_>, soft: Option<SoftTargets>, dtype: DType) -> Expr<'_> {
    if let Some(kind) = soft {
        return targets::soft_rows(target, kind, dtype).sum(&[1], false);
    }
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
