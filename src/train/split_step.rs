//! A training step in two halves with a reduction between them: gradients of a batch part by part, and one update from all of them.

use super::scalars::Scalars;
use super::step::{Feeds, StepResult, borrowed, number, scaling};
use crate::bundle::manifest::{Role, SplitOutputs, State};
use crate::bundle::{Bundle, Measure, StateMeaning};
use crate::engine::{Engine, Session};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use std::collections::{HashMap, HashSet};

/// What a batch, or a part of one, contributes to a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Images that count: those that are no padding. Everything below is a mean over them, but for `correct`.
    pub images: f64,
    /// The data loss.
    pub data_loss: f64,
    /// The regularizers, with their strengths.
    pub regularizers: f64,
    /// How many of the images were told right.
    pub correct: f64,
    /// For each parameter that is trained, in the manifest's order.
    pub gradients: Vec<Tensor>,
}

/// Makes one contribution of many.
pub trait Reduce {
    /// Takes the contribution of one more part of the batch.
    fn add(&mut self, part: Contribution) -> Result<()>;

    /// The contribution of the whole batch, wherever its parts were computed. What was added is forgotten.
    fn reduce(&mut self) -> Result<Contribution>;
}

/// The mean over the parts that were computed here, each weighted by its images, so that a batch in parts has the gradients that it has as
/// a whole.
#[derive(Debug, Clone, Default)]
pub struct LocalMean {
    sum: Option<Sum>,
}

/// Sums over images, in float64.
#[derive(Debug, Clone)]
struct Sum {
    images: f64,
    data_loss: f64,
    regularizers: f64,
    correct: f64,
    gradients: Vec<Vec<f64>>,
    /// Of the first part, for type and shape.
    like: Vec<Tensor>,
}

impl Reduce for LocalMean {
    fn add(&mut self, part: Contribution) -> Result<()> {
        let n = part.images;
        let Some(sum) = &mut self.sum else {
            let scaled = |t: &Tensor| Ok(t.to_f64()?.into_iter().map(|g| n * g).collect());
            self.sum = Some(Sum {
                images: n,
                data_loss: n * part.data_loss,
                regularizers: n * part.regularizers,
                correct: part.correct,
                gradients: part.gradients.iter().map(scaled).collect::<Result<_>>()?,
                like: part.gradients,
            });
            return Ok(());
        };
        if sum.like.len() != part.gradients.len() || sum.like.iter().zip(&part.gradients).any(|(a, b)| a.ty() != b.ty()) {
            return Err(Error::training("the parts of a batch have gradients of different types or shapes; they are of different bundles"));
        }
        for (sum, gradient) in sum.gradients.iter_mut().zip(&part.gradients) {
            sum.iter_mut().zip(gradient.to_f64()?).for_each(|(s, g)| *s += n * g);
        }
        sum.images += n;
        sum.data_loss += n * part.data_loss;
        sum.regularizers += n * part.regularizers;
        sum.correct += part.correct;
        Ok(())
    }

    fn reduce(&mut self) -> Result<Contribution> {
        let sum = self.sum.take().ok_or_else(|| Error::training("there are no gradients to update by: run a part of a batch first"))?;
        let mean = |(values, like): (Vec<f64>, &Tensor)| {
            Tensor::from_floats(like.dtype(), like.shape(), &values.into_iter().map(|v| v / sum.images).collect::<Vec<_>>())
        };
        Ok(Contribution {
            images: sum.images,
            data_loss: sum.data_loss / sum.images,
            regularizers: sum.regularizers / sum.images,
            correct: sum.correct,
            gradients: sum.gradients.into_iter().zip(&sum.like).map(mean).collect(),
        })
    }
}

/// The halves of a bundle's step in an engine, with the state between them.
///
/// Every part of a batch moves BatchNorm's running statistics, one after the other, and in training mode normalises with its own: only
/// without BatchNorm in that mode is a batch in parts the same as the batch as a whole.
pub struct SplitStep<R: Reduce = LocalMean> {
    grad: Half,
    reduce: R,
    apply: Half,
    feeds: Feeds,
    outputs: SplitOutputs,
    states: Vec<State>,
    state: Vec<Tensor>,
}

impl<R: Reduce> SplitStep<R> {
    /// Loads both halves with `state` in the manifest's order. Fails where the bundle has none, or does not say how many images a loss is
    /// a mean over.
    pub fn load(engine: &dyn Engine, bundle: &Bundle, state: Vec<Tensor>, reduce: R) -> Result<SplitStep<R>> {
        let Some(outputs) = bundle.manifest.split.clone() else {
            let why = "has no halves of a step: rewrite the model again with";
            return Err(Error::usage(format!("{} {why} {}", bundle.dir.display(), Field::SPLIT)));
        };
        let states = bundle.manifest.state.clone();
        if state.len() != states.len() {
            return Err(Error::training(format!("{} state tensors were given for {} in the bundle", state.len(), states.len())));
        }
        let (grad, apply) = (Half(engine.load(&bundle.grad())?), Half(engine.load(&bundle.apply())?));
        Ok(SplitStep { grad, reduce, apply, feeds: Feeds::new(bundle)?, outputs, states, state })
    }

    /// Computes the gradients of a part of the batch.
    pub fn grad(&mut self, data: &Tensor, target: &Tensor, scalars: &Scalars) -> Result<()> {
        if !target.to_f64()?.iter().any(|&t| t >= 0.0) {
            return Err(Error::data("a part of a batch holds nothing but padding: leave it out"));
        }
        let mut feeds = self.feeds.of_batch(data, target, scalars)?;
        feeds.extend(self.states.iter().zip(&self.state).map(|(s, t)| (s.input.clone(), t.clone())));
        let mut results = self.grad.run(&feeds)?;
        let measure = |measure| number(&self.outputs.grad, measure, |name| results.get(name));
        let part = (measure(Measure::Count)?, measure(Measure::DataLoss)?, measure(Measure::Correct)?);
        let regularizers =
            if self.outputs.grad.iter().any(|o| o.meaning == Measure::Regularizers) { measure(Measure::Regularizers)? } else { 0.0 };
        let mut take = |name: &str| results.remove(name).ok_or_else(|| missing(Bundle::GRAD, name));
        let gradients = self.states.iter().filter_map(|s| s.gradient.as_deref()).map(&mut take).collect::<Result<_>>()?;
        for (s, value) in self.states.iter().zip(&mut self.state).filter(|(s, _)| moves_with_batches(s)) {
            *value = take(&s.output)?;
        }
        self.reduce.add(Contribution { images: part.0, data_loss: part.1, regularizers, correct: part.2, gradients })
    }

    /// Moves the parameters by the gradients of all parts since the last update.
    pub fn apply(&mut self, scalars: &Scalars) -> Result<StepResult> {
        let batch = self.reduce.reduce()?;
        let mut feeds = self.feeds.of_scalars(scalars)?;
        feeds.extend(self.states.iter().zip(&self.state).map(|(s, t)| (s.input.clone(), t.clone())));
        feeds.extend(self.states.iter().filter_map(|s| s.gradient.clone()).zip(batch.gradients));
        let mut results = self.apply.run(&feeds)?;
        let penalty = number(&self.outputs.apply, Measure::Penalty, |name| results.get(name))? + batch.regularizers;
        let (loss_scale, skipped) = scaling(&self.outputs.apply, |name| results.get(name))?;
        // What the first half has moved is no output of the second.
        for (s, value) in self.states.iter().zip(&mut self.state).filter(|(s, _)| !moves_with_batches(s)) {
            *value = results.remove(&s.output).ok_or_else(|| missing(Bundle::APPLY, &s.output))?;
        }
        let correct = batch.correct.max(0.0) as u64;
        Ok(StepResult { loss: batch.data_loss + penalty, data_loss: batch.data_loss, penalty, correct, loss_scale, skipped })
    }

    /// One step on a batch in parts, each of images and labels.
    pub fn run(&mut self, parts: &[(Tensor, Tensor)], scalars: &Scalars) -> Result<StepResult> {
        parts.iter().try_for_each(|(data, target)| self.grad(data, target, scalars))?;
        self.apply(scalars)
    }

    /// The current state, in the manifest's order.
    pub fn state(&self) -> &[Tensor] {
        &self.state
    }
}

/// Whether the first half gives its next value: BatchNorm's statistics, and what masks are made of.
fn moves_with_batches(state: &State) -> bool {
    state.role == Role::Buffer || state.meaning == Some(StateMeaning::Random)
}

/// One half: of what it is offered it takes what it declares.
struct Half(Box<dyn Session>);

impl Half {
    /// Results by name.
    fn run(&mut self, offered: &[(String, Tensor)]) -> Result<HashMap<String, Tensor>> {
        let signature = self.0.signature();
        let declared: HashSet<&str> = signature.inputs.iter().map(|p| p.name.as_str()).collect();
        let taken: Vec<_> = borrowed(offered).into_iter().filter(|(name, _)| declared.contains(name)).collect();
        let names: Vec<String> = signature.outputs.iter().map(|p| p.name.clone()).collect();
        Ok(names.into_iter().zip(self.0.run(&taken)?).collect())
    }
}

fn missing(graph: &str, name: &str) -> Error {
    Error::model(format!("the bundle's {graph} has no output `{name}`: make the bundle again"))
}
