//! Softmax cross-entropy with labels, or with probabilities of the classes.
//!
//! With `p = softmax(z)`, `K` classes, label smoothing `ε` and `q = (1 − ε)·onehot(target) + ε/K`:
//! `loss = −(1/n)·Σ_rows Σ_k q_k·log p_k`, `∂loss/∂z = (p − q)/n`. Rows with target −1 are padding: they count neither in the
//! sum nor in `n`. The same as PyTorch's `cross_entropy(z, target, ignore_index=-1, label_smoothing=ε)`; probabilities `y` stand in the place of the one-hot
//! vectors, as in PyTorch, and rows of zeros are padding.

use super::class_weights::row_weights;
use super::targets::{Given, Targets, rows_of, sizes_of};
use super::{Activation, DataLoss, Loss, SoftTargets};
use crate::ir::{Attr, ValueId};
use crate::operator::{Builder, Function, Rule, attrs};
use crate::ops::blocks::formula;

/// `(logits, target) → loss, dlogits, number of right answers`.
pub const CROSS_ENTROPY: Function = Function::float32("SoftmaxCrossEntropy");

/// `(logits, target) → loss, dlogits, number of right answers`, with weights of the classes in its body.
pub const WEIGHTED: Function = Function::float32("WeightedSoftmaxCrossEntropy");

/// `logits` is `[N, K]`, `target` int64 `[N]` or of the logits' type `[N, K]`.
pub fn cross_entropy(b: &mut Builder, logits: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss> {
    let (_, classes) = sizes_of(b, logits, "logits")?;
    let dtype = b.dtype(logits);
    let attributes = attrs([("label_smoothing", Attr::Float(label_smoothing as f32))]);
    let rows = rows_of(b, target)?;
    let given = Given::of(b, target, SoftTargets::Probabilities, logits)?;
    let rule = formula(|[z, target]| {
        let log_p = z.log_softmax(1);
        let Targets { scores: q, counts } = given.targets(target, rows, classes, dtype, label_smoothing);
        let share = counts.sum(&[0, 1], true).max(1.0);
        let loss = (-((q * log_p).sum(&[0, 1], true) / share)).reshape(&[]);
        let gradient = (log_p.exp() * counts - q) / share;
        let correct = given.correct(z, target, rows, classes, 0.0);
        [loss, gradient, correct]
    });
    let [value, gradient, correct] = b.call(&CROSS_ENTROPY, [logits, target], attributes, rule)?;
    Ok(Loss { value, gradient, correct })
}

/// The row of the table.
pub struct CrossEntropy;

impl DataLoss for CrossEntropy {
    fn kind(&self) -> &'static str {
        "cross-entropy"
    }

    fn summary(&self) -> &'static str {
        "cross-entropy of a softmax"
    }

    fn soft_targets(&self) -> SoftTargets {
        SoftTargets::Probabilities
    }

    fn refusal(&self, activation: Activation, scores: usize) -> Option<String> {
        match (activation, scores) {
            (_, 0 | 1) => Some("there is a single score for each image, whose softmax is always 1".into()),
            (Activation::Sigmoid, _) => Some(
                "the network ends with a sigmoid, whose classes don't exclude each other, and would not give what it was trained for"
                    .into(),
            ),
            _ => None,
        }
    }

    fn add(&self, b: &mut Builder, logits: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss> {
        cross_entropy(b, logits, target, label_smoothing)
    }

    fn functions(&self) -> [&'static Function; 2] {
        [&CROSS_ENTROPY, &WEIGHTED]
    }

    /// `−Σ_rows Σ_k w_k·q_k·log p_k / Σ_rows w_target`, also of smoothed labels.
    fn weighted(&self, b: &mut Builder, inputs: [ValueId; 3], label_smoothing: f64) -> Rule<Loss> {
        let (rows, classes) = sizes_of(b, inputs[0], "logits")?;
        let dtype = b.dtype(inputs[0]);
        let [value, gradient, correct] = b.formula(inputs, |[z, target, weights]| {
            let log_p = z.log_softmax(1);
            let share = row_weights(target, weights, rows, classes, dtype).sum;
            let q =
                Given::Labels.targets(target, rows, classes, dtype, label_smoothing).scores * weights.reshape(&[1.into(), classes.into()]);
            let loss = (-((q * log_p).sum(&[0, 1], true) / share)).reshape(&[]);
            let gradient = (log_p.exp() * q.sum(&[1], true) - q) / share;
            [loss, gradient, Given::Labels.correct(z, target, rows, classes, 0.0)]
        })?;
        Ok(Loss { value, gradient, correct })
    }

    fn value(&self, activation: Activation, given: &[f64], label: usize) -> f64 {
        // What the network says about a class that it does not have is nothing.
        let said = given.get(label).copied().unwrap_or(f64::NAN);
        -match activation {
            Activation::None => said - log_sum_exp(given),
            Activation::LogSoftmax => said,
            _ => said.ln(),
        }
    }

    fn soft_value(&self, activation: Activation, given: &[f64], targets: &[f64]) -> f64 {
        let each = targets.iter().enumerate().take(given.len()).filter(|(_, y)| **y != 0.0);
        each.map(|(label, y)| y * self.value(activation, given, label)).sum()
    }

    fn probabilities(&self, activation: Activation, given: &[f64]) -> Vec<f64> {
        let all = log_sum_exp(given);
        let probability = |&v: &f64| match activation {
            Activation::None => (v - all).exp(),
            Activation::LogSoftmax => v.exp(),
            _ => v,
        };
        given.iter().map(probability).collect()
    }
}

/// `log Σ eᶻ`, for logits of any size.
fn log_sum_exp(z: &[f64]) -> f64 {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + z.iter().map(|v| (v - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_do_not_overflow() {
        let p = CrossEntropy.probabilities(Activation::None, &[1000.0, 1000.0]);
        assert!(p.iter().all(|v| (v - 0.5).abs() < 1e-12), "{p:?}");
        let loss = CrossEntropy.value(Activation::None, &[1000.0, 1000.0], 1);
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-12, "{loss}");
    }
}
