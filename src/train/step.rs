//! One whole training step of a bundle: images, labels and scalars go in, losses come out, and the state stays inside.

use super::scalars::Scalars;
use super::targets::Targets;
use crate::bundle::manifest::{Output, Port, Scalar, State, output_of};
use crate::bundle::{Bundle, Measure, start_feeds, start_state};
use crate::data::{Batch, as_input};
use crate::engine::{Engine, StatePort, Stepper};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};

/// What a step computed besides its next state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// What is minimised: data loss and penalty.
    pub loss: f64,
    /// The mean over the batch.
    pub data_loss: f64,
    /// Penalty and regularizers, with their strengths.
    pub penalty: f64,
    /// Images whose target has the largest logit.
    pub correct: u64,
    /// Where the loss is scaled: the factor.
    pub loss_scale: Option<f64>,
    /// Whether the state stayed as it was, since a gradient of the scaled loss was not finite.
    pub skipped: bool,
}

/// The loss scale and whether the step was skipped, from what a graph gives; `results` finds an output by name.
pub(super) fn scaling<'a>(outputs: &[Output], results: impl Fn(&str) -> Option<&'a Tensor>) -> Result<(Option<f64>, bool)> {
    if output_of(outputs, Measure::LossScale).is_none() {
        return Ok((None, false));
    }
    Ok((Some(number(outputs, Measure::LossScale, &results)?), number(outputs, Measure::Skipped, &results)? != 0.0))
}

/// A bundle's step in an engine.
pub struct TrainingStep {
    stepper: Box<dyn Stepper>,
    feeds: Feeds,
    outputs: Vec<Output>,
    /// What was fed ahead.
    ahead: Option<Ahead>,
}

/// A batch of a loader and its scalars.
#[derive(PartialEq)]
struct Ahead {
    epoch: u64,
    number: usize,
    scalars: Scalars,
}

impl Ahead {
    fn of(batch: &Batch, scalars: &Scalars) -> Ahead {
        Ahead { epoch: batch.epoch, number: batch.number, scalars: scalars.clone() }
    }
}

impl TrainingStep {
    /// Loads the bundle's step with `state` in the manifest's order.
    pub fn load(engine: &dyn Engine, bundle: &Bundle, state: Vec<Tensor>) -> Result<TrainingStep> {
        let stepper = engine.load_step(&bundle.step(), &state_ports(&bundle.manifest.state), state)?;
        TrainingStep::of(stepper, bundle)
    }

    /// A step that is loaded already, with the bundle's ports but for its state.
    pub(super) fn of(stepper: Box<dyn Stepper>, bundle: &Bundle) -> Result<TrainingStep> {
        Ok(TrainingStep { stepper, feeds: Feeds::new(bundle)?, outputs: bundle.manifest.outputs.clone(), ahead: None })
    }

    /// Runs one step on a batch of a loader, whose images may be mixed.
    pub fn run_batch(&mut self, batch: &Batch, scalars: &Scalars) -> Result<StepResult> {
        let target = self.feeds.target.of_batch(batch)?;
        self.run(&batch.data, &target, scalars)
    }

    /// [`TrainingStep::run_batch`]. While the device computes, `next` is asked for the batch of the step after it, with its scalars; what it gives goes up
    /// meanwhile, and is given back with the step's results, to be run next. An engine without such a device asks for none.
    pub fn run_ahead(
        &mut self,
        batch: &Batch,
        scalars: &Scalars,
        next: &mut dyn FnMut() -> Option<(Scalars, Result<Batch>)>,
    ) -> Result<(StepResult, Option<Result<Batch>>)> {
        if self.stepper.parts().is_none() {
            return Ok((self.run_batch(batch, scalars)?, None));
        }
        let fed = self.ahead.take().is_some_and(|ahead| ahead == Ahead::of(batch, scalars));
        let feeds = |batch: &Batch, scalars: &Scalars| {
            let target = self.feeds.target.of_batch(batch)?;
            self.feeds.of_batch(&batch.data, &target, scalars)
        };
        let Some(parts) = self.stepper.parts() else { return Err(Error::engine("an engine's steps have parts no more")) };
        if !fed {
            parts.feed(&borrowed(&feeds(batch, scalars)?))?;
        }
        parts.begin()?;
        let next = next();
        let fed = match &next {
            Some((scalars, Ok(batch))) => {
                feeds(batch, scalars).and_then(|feeds| parts.feed(&borrowed(&feeds))).map(|()| Some(Ahead::of(batch, scalars)))
            }
            _ => Ok(None),
        };
        // The step is waited for, whatever became of the next one's images.
        let results = parts.end()?;
        self.ahead = fed?;
        Ok((self.result(&results)?, next.map(|(_, batch)| batch)))
    }

    /// Runs one step on a batch of images in the network's layout and N labels, of which −1 is padding, or N×K soft targets.
    pub fn run(&mut self, data: &Tensor, target: &Tensor, scalars: &Scalars) -> Result<StepResult> {
        let feeds = self.feeds.of_batch(data, target, scalars)?;
        self.ahead = None;
        let results = self.stepper.step(&borrowed(&feeds))?;
        self.result(&results)
    }

    fn result(&self, results: &[(String, Tensor)]) -> Result<StepResult> {
        let measure = |measure| number(&self.outputs, measure, |name| results.iter().find(|r| r.0 == name).map(|r| &r.1));
        let (loss_scale, skipped) = scaling(&self.outputs, |name| results.iter().find(|r| r.0 == name).map(|r| &r.1))?;
        Ok(StepResult {
            loss_scale,
            skipped,
            loss: measure(Measure::Loss)?,
            data_loss: measure(Measure::DataLoss)?,
            penalty: measure(Measure::Penalty)?,
            correct: measure(Measure::Correct)?.max(0.0) as u64,
        })
    }

    /// A copy of the current state, in the manifest's order.
    pub fn state(&mut self) -> Result<Vec<Tensor>> {
        self.stepper.state()
    }

    /// Runs `steps` steps from the bundle's start on the same batch, and gives the engine's record of every node's time.
    pub fn record(
        engine: &dyn Engine,
        bundle: &Bundle,
        (data, target): (&Tensor, &Tensor),
        scalars: &Scalars,
        steps: usize,
    ) -> Result<String> {
        let feeds = Feeds::new(bundle)?.of_batch(data, target, scalars)?;
        engine.profile(&bundle.step(), &state_ports(&bundle.manifest.state), start_state(bundle)?, &borrowed(&feeds), steps)
    }
}

/// The ports of state tensors.
pub(super) fn state_ports<'a>(states: impl IntoIterator<Item = &'a State>) -> Vec<StatePort> {
    states.into_iter().map(|s| StatePort { input: s.input.clone(), output: s.output.clone() }).collect()
}

/// Makes what a graph is fed besides its state.
pub(super) struct Feeds {
    data: Port,
    target: Targets,
    /// The scalar inputs with their meaning.
    scalars: Vec<Scalar>,
    precision: DType,
    /// The bundle's starting point, where the step takes it as inputs.
    starts: Vec<(String, Tensor)>,
}

impl Feeds {
    pub fn new(bundle: &Bundle) -> Result<Feeds> {
        let manifest = &bundle.manifest;
        Ok(Feeds {
            data: manifest.data.input.clone(),
            target: Targets::new(manifest),
            scalars: manifest.scalars.clone(),
            precision: manifest.precision,
            starts: start_feeds(bundle)?,
        })
    }

    /// A batch, all scalars and the starting point where that is an input, by the names of their inputs.
    pub fn of_batch(&self, data: &Tensor, target: &Tensor, scalars: &Scalars) -> Result<Vec<(String, Tensor)>> {
        // Images are loaded as float32.
        let data = as_input(data, self.data.dtype)?;
        let mut feeds = vec![(self.data.name.clone(), data), (self.target.name().to_string(), self.target.feed(target)?)];
        feeds.extend(self.of_scalars(scalars)?);
        Ok(feeds)
    }

    /// All scalars, and the starting point where that is an input, by the names of their inputs.
    pub fn of_scalars(&self, scalars: &Scalars) -> Result<Vec<(String, Tensor)>> {
        let feed = |s: &Scalar| {
            let value = scalars.get(&s.meaning);
            let value = value.ok_or_else(|| Error::usage(format!("the step needs a value for `{}`", s.meaning)))?;
            Ok((s.name.clone(), Tensor::from_floats(self.precision, &[], &[value])))
        };
        self.scalars.iter().map(feed).chain(self.starts.iter().cloned().map(Ok)).collect()
    }
}

pub(super) fn borrowed(feeds: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    feeds.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

/// The one number of the output with that meaning; `results` finds an output by name.
pub(super) fn number<'a>(outputs: &[Output], measure: Measure, results: impl Fn(&str) -> Option<&'a Tensor>) -> Result<f64> {
    let damaged = |why: String| Error::model(format!("the bundle's step {why}: make the bundle again"));
    let name = output_of(outputs, measure).ok_or_else(|| damaged(format!("gives no {}", measure.name())))?;
    let tensor = results(name).ok_or_else(|| damaged(format!("has no output `{name}`")))?;
    match tensor.to_f64()?[..] {
        [value] => Ok(value),
        _ => Err(damaged(format!("gives `{name}` as {}, which is no single number", tensor.ty()))),
    }
}
