//! Mean squared error of what the network gives out, its activation included.
//!
//! With outputs `o`, `K` of them for each image, and targets `y` (for a label the one-hot vector, with label smoothing `ε`
//! `(1 − ε)·onehot + ε/K`; for a single output the label itself, 0 or 1, and `(1 − ε)·y + ε/2`):
//!
//! ```text
//! loss = (1/(n·K))·Σ_rows Σ_k (o_k − y_k)²         ∂loss/∂o = 2·(o − y)/(n·K)
//! ```
//!
//! Rows of padding (target −1) count neither in the sum nor in `n`. The same as PyTorch's `mse_loss(o, y)` over the rows that count.

use super::class_weights::row_weights;
use super::targets::{Given, Targets, asked, rows_of, sizes_of};
use super::{Activation, DataLoss, Loss, SoftTargets};
use crate::ir::{Attr, ValueId};
use crate::operator::{Builder, Function, Rule, attrs};
use crate::ops::blocks::formula;

/// `(outputs, target) → loss, doutputs, number of right answers`.
pub const MEAN_SQUARED_ERROR: Function = Function::float32("MeanSquaredError");

/// `(outputs, target) → loss, doutputs, number of right answers`, with weights of the classes in its body.
pub const WEIGHTED: Function = Function::float32("WeightedMeanSquaredError");

/// The row of the table.
pub struct MeanSquaredError;

impl DataLoss for MeanSquaredError {
    fn kind(&self) -> &'static str {
        "mse"
    }

    fn summary(&self) -> &'static str {
        "mean squared error of the outputs"
    }

    fn reads_output(&self) -> bool {
        true
    }

    fn soft_targets(&self) -> SoftTargets {
        SoftTargets::Numbers
    }

    fn refusal(&self, activation: Activation, _: usize) -> Option<String> {
        let logarithms = activation == Activation::LogSoftmax;
        logarithms.then(|| "the network ends with a log-softmax, and logarithms are never 1".to_string())
    }

    fn add(&self, b: &mut Builder, outputs: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss> {
        let (_, scores) = sizes_of(b, outputs, "outputs")?;
        let (dtype, rows) = (b.dtype(outputs), rows_of(b, target)?);
        let attributes = attrs([("label_smoothing", Attr::Float(label_smoothing as f32))]);
        let given = Given::of(b, target, self.soft_targets(), outputs)?;
        let rule = formula(|[o, target]| {
            let Targets { scores: y, counts } = given.targets(target, rows, scores, dtype, label_smoothing);
            let share = counts.sum(&[0, 1], true).max(1.0) * scores as f64;
            let gap = (o - y) * counts;
            let loss = (gap.square().sum(&[0, 1], true) / share).reshape(&[]);
            [loss, gap * 2.0 / share, given.correct(o, target, rows, scores, 0.5)]
        });
        let [value, gradient, correct] = b.call(&MEAN_SQUARED_ERROR, [outputs, target], attributes, rule)?;
        Ok(Loss { value, gradient, correct })
    }

    fn functions(&self) -> [&'static Function; 2] {
        [&MEAN_SQUARED_ERROR, &WEIGHTED]
    }

    fn weighted(&self, b: &mut Builder, inputs: [ValueId; 3], label_smoothing: f64) -> Rule<Loss> {
        let (rows, scores) = sizes_of(b, inputs[0], "outputs")?;
        let dtype = b.dtype(inputs[0]);
        let [value, gradient, correct] = b.formula(inputs, |[o, target, weights]| {
            let found = row_weights(target, weights, rows, super::class_count(scores), dtype);
            let share = found.sum * scores as f64;
            let gap = o - Given::Labels.targets(target, rows, scores, dtype, label_smoothing).scores;
            let loss = ((gap.square() * found.rows).sum(&[0, 1], true) / share).reshape(&[]);
            [loss, gap * found.rows * 2.0 / share, Given::Labels.correct(o, target, rows, scores, 0.5)]
        })?;
        Ok(Loss { value, gradient, correct })
    }

    fn value(&self, activation: Activation, given: &[f64], label: usize) -> f64 {
        let targets: Vec<f64> = (0..given.len()).map(|k| asked(given.len(), label, k)).collect();
        self.soft_value(activation, given, &targets)
    }

    fn soft_value(&self, _: Activation, given: &[f64], targets: &[f64]) -> f64 {
        let each = given.iter().zip(targets).map(|(v, y)| (v - y).powi(2));
        each.sum::<f64>() / given.len().max(1) as f64
    }

    /// An output that is trained to be 1 or 0 is the estimate of a probability, though it may leave their range.
    fn probabilities(&self, _: Activation, given: &[f64]) -> Vec<f64> {
        match given {
            [one] => vec![1.0 - one, *one],
            all => all.to_vec(),
        }
    }
}
