//! The graphs of a training: one step, its two halves, and the network for evaluation.

use super::backward::Backward;
use super::loss_scale::{self, Outcome};
use super::penalty_term::Penalties;
use super::resolve::Recipe;
use super::scalars::in_type;
use super::start_input;
use super::state::{StateTensor, failed};
use super::training_graph::TrainingGraph;
use super::update::updates;
use crate::bundle::manifest::Scalar;
use crate::bundle::{Meaning, Measure, Options, StartForm};
use crate::error::{Error, Result};
use crate::import::Imported;
use crate::ir::{Graph, ValueId};
use crate::loss;
use crate::operator::Builder;

/// The whole step.
pub(super) struct Step {
    pub graph: TrainingGraph,
    /// In the manifest's order.
    pub state: Vec<StateTensor>,
    pub scalars: Vec<Scalar>,
}

/// Inputs or outputs with their meanings.
#[derive(Default)]
struct Ports {
    values: Vec<ValueId>,
    meanings: Vec<Meaning>,
}

impl Ports {
    fn push(&mut self, value: ValueId, meaning: Meaning) {
        self.values.push(value);
        self.meanings.push(meaning);
    }

    fn settings<'a>(&mut self, scalars: impl Iterator<Item = &'a (Scalar, ValueId)>) {
        scalars.for_each(|(s, v)| self.push(*v, Meaning::Setting(s.meaning.clone())));
    }

    fn state<'a>(&mut self, state: impl Iterator<Item = &'a StateTensor>) {
        state.for_each(|s| self.push(s.input, Meaning::State(s.name.clone())));
    }

    fn next<'a>(&mut self, state: impl Iterator<Item = &'a StateTensor>) {
        state.for_each(|s| self.push(s.next, Meaning::Next(s.name.clone())));
    }

    /// The starting points, where they are inputs.
    fn starts(&mut self, starts: &[(String, ValueId)]) {
        starts.iter().for_each(|(name, value)| self.push(*value, Meaning::Start(name.clone())));
    }

    fn gradients(&mut self, parameters: &[StateTensor], gradients: &[ValueId]) {
        parameters.iter().zip(gradients).for_each(|(p, &g)| self.push(g, Meaning::Gradient(p.name.clone())));
    }

    /// The loss scale of this step, and whether the state stays as it was.
    fn scaling(&mut self, graph: &mut Graph, scale: Option<ValueId>, outcome: Option<&Outcome>) -> Result<()> {
        let (Some(scale), Some(outcome)) = (scale, outcome) else { return Ok(()) };
        let mut b = Builder::new(graph);
        let now = b.op("Identity", &[scale], Default::default()).map_err(failed("the loss scale"))?;
        for (meaning, value) in [(Measure::LossScale, now), (Measure::Skipped, outcome.skipped)] {
            self.measure(graph, value, meaning, meaning.name());
        }
        Ok(())
    }

    /// Gives the output that name, or what is free of it.
    fn measure(&mut self, graph: &mut Graph, value: ValueId, meaning: Measure, name: &str) {
        graph.rename(value, name);
        self.push(value, Meaning::Measure(meaning));
    }
}

fn whole(mut graph: Graph, name: &str, inputs: Ports, outputs: Ports) -> Result<TrainingGraph> {
    graph.name = name.into();
    graph.inputs = inputs.values;
    graph.outputs = outputs.values;
    TrainingGraph::new(graph, inputs.meanings, outputs.meanings)
}

/// Data, target, scalars, state → loss, data loss, penalty, correct, next state.
pub(super) fn step(back: Backward, recipe: &Recipe, penalties: Option<&Penalties>) -> Result<Step> {
    let Backward {
        mut graph,
        data,
        target,
        loss,
        data_loss: _,
        stopped: _,
        parameters,
        gradients,
        mut buffers,
        random,
        regularizers,
        loss_scale,
    } = back;
    let scale = loss_scale.as_ref().map(|s| s.scale.input);
    let updates = updates(&mut graph, recipe, penalties, parameters, (&gradients, loss_scale))?;
    if let Some(outcome) = &updates.outcome {
        outcome.keep(&mut graph, buffers.iter_mut())?;
    }
    let mut b = Builder::new(&mut graph);
    let penalty = match regularizers.value {
        Some(value) => b.add(updates.penalty, value).map_err(failed("the sum of penalty and regularizers"))?,
        None => updates.penalty,
    };
    let dtype = b.dtype(loss.value);
    let total = in_type(&mut b, penalty, dtype).and_then(|penalty| b.add(loss.value, penalty)).map_err(failed("the loss"))?;
    let scalars: Vec<_> = updates.scalars.into_iter().chain(regularizers.scalars).collect();
    let state: Vec<StateTensor> = updates.parameters.into_iter().chain(buffers).chain(updates.optimizer).chain(random).collect();
    let (mut inputs, mut outputs) = (Ports::default(), Ports::default());
    inputs.push(data, Meaning::Data);
    inputs.push(target, Meaning::Target);
    inputs.settings(scalars.iter());
    inputs.state(state.iter());
    inputs.starts(&starts(&mut graph, recipe.options, &state));
    let results = [(Measure::Loss, total), (Measure::DataLoss, loss.value), (Measure::Penalty, penalty), (Measure::Correct, loss.correct)];
    for (meaning, value) in results {
        outputs.measure(&mut graph, value, meaning, meaning.name());
    }
    outputs.scaling(&mut graph, scale, updates.outcome.as_ref())?;
    outputs.next(state.iter());
    Ok(Step { graph: whole(graph, "step", inputs, outputs)?, state, scalars: scalars.into_iter().map(|s| s.0).collect() })
}

/// The starting points as inputs, where that is asked for.
fn starts(graph: &mut Graph, options: &Options, state: &[StateTensor]) -> Vec<(String, ValueId)> {
    match options.start {
        StartForm::Constant => vec![],
        StartForm::Input => start_input::inputs(graph, state),
    }
}

/// State and batch → data loss, correct, count, gradients, next statistics. With regularizers also their strengths → their sum; the
/// gradients are those of both.
pub(super) fn gradients(back: &Backward, options: &Options) -> Result<TrainingGraph> {
    let mut graph = back.graph.clone();
    let mut b = Builder::new(&mut graph);
    b.scope("loss");
    let count = loss::count(&mut b, back.target, back.data_loss).map_err(failed("the count of images"))?;
    let (mut inputs, mut outputs) = (Ports::default(), Ports::default());
    inputs.push(back.data, Meaning::Data);
    inputs.push(back.target, Meaning::Target);
    inputs.settings(back.regularizers.scalars.iter());
    inputs.state(back.parameters.iter().chain(&back.buffers).chain(back.loss_scale.iter().map(|s| &s.scale)).chain(&back.random));
    let moving: Vec<StateTensor> = back.parameters.iter().chain(&back.buffers).cloned().collect();
    inputs.starts(&starts(&mut graph, options, &moving));
    // Here it is the only loss.
    outputs.measure(&mut graph, back.loss.value, Measure::DataLoss, Measure::Loss.name());
    let others =
        [(Measure::Correct, Some(back.loss.correct)), (Measure::Regularizers, back.regularizers.value), (Measure::Count, Some(count))];
    for (meaning, value) in others {
        if let Some(value) = value {
            outputs.measure(&mut graph, value, meaning, meaning.name());
        }
    }
    outputs.gradients(&back.parameters, &back.gradients);
    let mut buffers = back.buffers.clone();
    if back.loss_scale.is_some() && !buffers.is_empty() {
        // The other half finds the same out of the whole batch's gradients.
        let squares = loss_scale::squares(&mut graph, &back.gradients)?;
        loss_scale::outcome(&mut graph, &squares)?.keep(&mut graph, buffers.iter_mut())?;
    }
    outputs.next(buffers.iter().chain(&back.random));
    whole(graph, "grad", inputs, outputs)
}

/// Gradients, scalars and state → penalty and next state. Every port has the name that it has in the step and in [`gradients`].
pub(super) fn update(back: &Backward, recipe: &Recipe, penalties: Option<&Penalties>) -> Result<TrainingGraph> {
    // What is new here is new in the step as well, and gets the same name.
    let mut graph = back.graph.successor();
    let mut parameters = back.parameters.clone();
    for p in &mut parameters {
        p.input = graph.input_as(back.graph.name_of(p.input), p.ty.clone());
        p.next = p.input;
    }
    let mut gradients = vec![];
    for (p, &gradient) in parameters.iter().zip(&back.gradients) {
        gradients.push(graph.input_as(back.graph.name_of(gradient), p.ty.clone()));
    }
    let scaling = back.loss_scale.as_ref().map(|s| s.again(&back.graph, &mut graph));
    let scale = scaling.as_ref().map(|s| s.scale.input);
    let updates = updates(&mut graph, recipe, penalties, parameters, (&gradients, scaling))?;
    let (mut inputs, mut outputs) = (Ports::default(), Ports::default());
    inputs.gradients(&updates.parameters, &gradients);
    inputs.settings(updates.scalars.iter());
    let state = || updates.parameters.iter().chain(&updates.optimizer);
    inputs.state(state());
    inputs.starts(&starts(&mut graph, recipe.options, &updates.parameters));
    outputs.measure(&mut graph, updates.penalty, Measure::Penalty, Measure::Penalty.name());
    outputs.scaling(&mut graph, scale, updates.outcome.as_ref())?;
    outputs.next(state());
    whole(graph, "apply", inputs, outputs)
}

/// The network itself, with its state as inputs.
pub(super) fn evaluation(network: &Imported, state: &[StateTensor]) -> Result<TrainingGraph> {
    let mut graph = network.graph.clone();
    let mut inputs = vec![Meaning::Data];
    for slot in state.iter().filter(|s| s.role.is_model()) {
        let value = graph.find(&slot.name);
        let value = value.ok_or_else(|| Error::internal(format!("`{}` is missing from the network for evaluation", slot.name)))?;
        graph.constant_to_input(value);
        inputs.push(Meaning::State(slot.name.clone()));
    }
    let outputs = vec![Meaning::Prediction; graph.outputs.len()];
    TrainingGraph::new(graph, inputs, outputs)
}
