//! Binary cross-entropy: each class is right or wrong by itself.
//!
//! With logits `z`, `p = 1/(1 + e⁻ᶻ)`, `K` scores for each image and targets `y` between 0 and 1 (for a label the one-hot vector, with label
//! smoothing `ε`: `(1 − ε)·onehot + ε/K`; for a single score the label itself, 0 or 1, and `(1 − ε)·y + ε/2`):
//!
//! ```text
//! loss = (1/(n·K))·Σ_rows Σ_k −[y_k·log p_k + (1 − y_k)·log(1 − p_k)]
//!      = (1/(n·K))·Σ_rows Σ_k [max(z_k, 0) − z_k·y_k + log(1 + e^−|z_k|)]         ∂loss/∂z = (p − y)/(n·K)
//! ```
//!
//! The second form loses no digits at large logits. Rows of padding (target −1) count neither in the sum nor in `n`. The same as PyTorch's
//! `binary_cross_entropy_with_logits(z, y)` over the rows that count.

use super::class_weights::row_weights;
use super::targets::{Given, Targets, asked, rows_of, sizes_of};
use super::{Activation, DataLoss, Loss, SoftTargets};
use crate::ir::{Attr, Attrs, DType, ValueId};
use crate::operator::{Builder, Function, Rule, attrs};
use crate::ops::blocks::{Expr, formula};

/// `(logits, target) → loss, dlogits, number of right answers`.
pub const BINARY_CROSS_ENTROPY: Function = Function::float32("SigmoidCrossEntropy");

/// `(logits, target) → loss, dlogits, number of right answers`, with weights of the classes in its body.
pub const WEIGHTED: Function = Function::float32("WeightedSigmoidCrossEntropy");

/// `(logits, targets) → loss, dlogits, number of right answers`.
pub const MULTI_LABEL: Function = Function::float32("MultiLabelCrossEntropy");

/// The row of the table.
pub struct BinaryCrossEntropy;

/// The mean over rows that count and scores, and its gradient.
fn terms<'f>(z: Expr<'f>, y: Expr<'f>, counts: Expr<'f>, scores: usize) -> [Expr<'f>; 2] {
    weighed(z, y, counts, counts.sum(&[0, 1], true).max(1.0) * scores as f64)
}

/// The sum of rows with weights by `share`, and its gradient.
fn weighed<'f>(z: Expr<'f>, y: Expr<'f>, counts: Expr<'f>, share: Expr<'f>) -> [Expr<'f>; 2] {
    let tail = ((-z.abs()).exp() + 1.0).with(|b, v| b.op("Log", &[v], Attrs::new()));
    let each = z.relu() - z * y + tail;
    let loss = ((each * counts).sum(&[0, 1], true) / share).reshape(&[]);
    [loss, (z.sigmoid() - y) * counts / share]
}

/// The same with targets of their own for every score: `logits` and `targets` are `[N, K]`, of one type, and several classes of an image may be
/// right. A row with a negative target is padding. Right is a row whose scores are all on the right side of ½.
pub fn multi_label(b: &mut Builder, logits: ValueId, targets: ValueId) -> Rule<Loss> {
    let (_, scores) = sizes_of(b, logits, "logits")?;
    if b.ty(logits) != b.ty(targets) {
        return Err(format!("the loss needs targets like the logits, {}, these are {}", b.ty(logits), b.ty(targets)));
    }
    let dtype = b.dtype(logits);
    let rule = formula(|[z, y]| {
        let no = y.number(0.0);
        let wrong = y.less(no).cast(dtype).sum(&[1], true);
        let counts = (1.0 - wrong).relu();
        let [loss, gradient] = terms(z, y, counts, scores);
        let sides = z.greater(0.0).cast(DType::I64).equals(y.greater(0.5).cast(DType::I64)).cast(dtype).sum(&[1], true);
        let all = sides.greater(scores as f64 - 0.5).cast(dtype) * counts;
        [loss, gradient, all.sum(&[0, 1], false).cast(DType::F32)]
    });
    let [value, gradient, correct] = b.call(&MULTI_LABEL, [logits, targets], Attrs::new(), rule)?;
    Ok(Loss { value, gradient, correct })
}

impl DataLoss for BinaryCrossEntropy {
    fn kind(&self) -> &'static str {
        "bce"
    }

    fn summary(&self) -> &'static str {
        "binary cross-entropy of each class"
    }

    fn soft_targets(&self) -> SoftTargets {
        SoftTargets::Each
    }

    fn refusal(&self, activation: Activation, _: usize) -> Option<String> {
        match activation {
            Activation::None | Activation::Sigmoid => None,
            other => Some(format!(
                "the network ends with {}, whose classes exclude each other, and would not give what it was trained for",
                other.name()
            )),
        }
    }

    fn add(&self, b: &mut Builder, logits: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss> {
        let (_, scores) = sizes_of(b, logits, "logits")?;
        let (dtype, rows) = (b.dtype(logits), rows_of(b, target)?);
        let attributes = attrs([("label_smoothing", Attr::Float(label_smoothing as f32))]);
        let given = Given::of(b, target, self.soft_targets(), logits)?;
        let rule = formula(|[z, target]| {
            let Targets { scores: y, counts } = given.targets(target, rows, scores, dtype, label_smoothing);
            let [loss, gradient] = terms(z, y, counts, scores);
            [loss, gradient, given.correct(z, target, rows, scores, 0.0)]
        });
        let [value, gradient, correct] = b.call(&BINARY_CROSS_ENTROPY, [logits, target], attributes, rule)?;
        Ok(Loss { value, gradient, correct })
    }

    fn functions(&self) -> [&'static Function; 2] {
        [&BINARY_CROSS_ENTROPY, &WEIGHTED]
    }

    fn weighted(&self, b: &mut Builder, inputs: [ValueId; 3], label_smoothing: f64) -> Rule<Loss> {
        let (rows, scores) = sizes_of(b, inputs[0], "logits")?;
        let dtype = b.dtype(inputs[0]);
        let [value, gradient, correct] = b.formula(inputs, |[z, target, weights]| {
            let found = row_weights(target, weights, rows, super::class_count(scores), dtype);
            let y = Given::Labels.targets(target, rows, scores, dtype, label_smoothing).scores;
            let [loss, gradient] = weighed(z, y, found.rows, found.sum * scores as f64);
            [loss, gradient, Given::Labels.correct(z, target, rows, scores, 0.0)]
        })?;
        Ok(Loss { value, gradient, correct })
    }

    fn value(&self, activation: Activation, given: &[f64], label: usize) -> f64 {
        let targets: Vec<f64> = (0..given.len()).map(|k| asked(given.len(), label, k)).collect();
        self.soft_value(activation, given, &targets)
    }

    fn soft_value(&self, activation: Activation, given: &[f64], targets: &[f64]) -> f64 {
        let each = given.iter().zip(targets).map(|(&v, &y)| {
            match activation {
                // Where the float of a probability is 1, its loss is as large as PyTorch's binary_cross_entropy lets it be.
                Activation::Sigmoid => -(y * v.ln().max(-100.0) + (1.0 - y) * (1.0 - v).ln().max(-100.0)),
                _ => v.max(0.0) - v * y + (-v.abs()).exp().ln_1p(),
            }
        });
        each.sum::<f64>() / given.len().max(1) as f64
    }

    fn probabilities(&self, activation: Activation, given: &[f64]) -> Vec<f64> {
        let sigmoid = |v: f64| if activation == Activation::Sigmoid { v } else { 1.0 / (1.0 + (-v).exp()) };
        match given {
            [one] => vec![1.0 - sigmoid(*one), sigmoid(*one)],
            all => all.iter().map(|&v| sigmoid(v)).collect(),
        }
    }
}
