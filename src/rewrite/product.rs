//! What a rewriting makes, in memory: everything that a training is. Nothing is written here; `artifact` makes files of it.

use super::backward::backward;
use super::decide::{Decided, decide, network};
use super::graphs::{self, Step};
use super::penalty_term::Penalties;
use super::plan::Plan;
use super::preparation::own_preparation;
use super::resolve::{Recipe, resolve};
use super::start_input;
use super::state::StateTensor;
use super::training_graph::TrainingGraph;
use crate::bundle::manifest::{self, DataPorts, FORMAT, Manifest, Port, Role, Source, SplitOutputs, State};
use crate::bundle::{HeadOption, Meaning, Options, Penalize, PredictionPort, Prepared, Rewriting, class_names, read_metadata};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Graph, ValueId};
use crate::onnx::{self, SourceModel};
use std::collections::BTreeMap;
use std::path::Path;

/// A training: its graphs, their ports and state, and how it came about.
#[derive(Debug)]
pub struct Product {
    /// The source, with its new head where it got one.
    pub source: SourceModel,
    /// As they were given.
    pub options: Options,
    /// What becomes of each parameter.
    pub plan: Plan,
    /// One training step.
    pub step: TrainingGraph,
    /// Its first half, forward and backward: batch and state to gradients.
    pub gradients: TrainingGraph,
    /// Its second half: gradients and state to the next state.
    pub update: TrainingGraph,
    /// The network by itself, with its state as inputs.
    pub evaluation: TrainingGraph,
    /// Every state tensor with its start, in the manifest's order; its values are those of `step`.
    pub state: Vec<StateTensor>,
    /// Parameters that stay as they are, since the loss sees them only behind nodes whose gradient is zero everywhere: their aliases, by those nodes.
    pub stopped: BTreeMap<String, Vec<String>>,
    /// What of the images' preprocessing nobody said.
    pub assumed: Vec<Field>,
    /// Whether the network's own nodes say which numbers images are.
    pub own_preparation: bool,
    /// What a runtime needs to know, with the names of ports and state.
    pub manifest: Manifest,
}

/// Rewrites the model at `model` into a training.
pub fn rewrite(model: &Path, options: &Options) -> Result<Product> {
    let recipe = resolve(options)?;
    let source = onnx::read(model)?;
    let known = read_metadata(&source.proto)?;
    let original = network(source, options)?;
    let Decided { plan, replaced, imported } = decide(&original, &recipe)?;
    let penalties = Penalties::new(&recipe, &plan, &imported, &original.source().sha256)?;
    let mut back = backward(&imported, &original, options, &plan)?;
    let stopped = std::mem::take(&mut back.stopped);
    if !options.start.is_constant() {
        start_input::check(&imported.graph, &back.parameters)?;
        start_input::check(&imported.graph, &back.buffers)?;
    }
    let own = own_preparation(&imported.graph);
    drop(imported);
    let opset = original.base().opset;
    let network = replaced.unwrap_or(original);
    let data = DataPorts { input: port(&back.graph, back.data), target: port(&back.graph, back.target) };
    let said = known.images.choose(&options.preprocessing.clone().unwrap_or_default())?;
    let Prepared { preprocessing, assumed, own } = said.complete(data.input.dtype, &data.input.shape, own.as_ref())?;
    if options.preprocessing.is_some() {
        preprocessing
            .fits(&data.input.shape)
            .map_err(|e| Error::option(Field::PREPROCESSING, format!(" does not fit {}: {e}", model.display())))?;
    }
    let regularizers = back.regularizers.manifest.clone();
    let gradients = graphs::gradients(&back, options)?;
    let update = graphs::update(&back, &recipe, penalties.as_ref())?;
    let step = graphs::step(back, &recipe, penalties.as_ref())?;
    let evaluation = graphs::evaluation(network.base(), &step.state)?;
    let state = step.state.iter().map(|s| state(s, &step, &gradients, options, &plan)).collect::<Result<_>>()?;
    let manifest = Manifest {
        format: FORMAT,
        spgraph: env!("CARGO_PKG_VERSION").into(),
        source: about(network.source(), model, opset),
        scalars: step.scalars.clone(),
        outputs: step.graph.measures(),
        split: options.split.then(|| SplitOutputs { grad: gradients.measures(), apply: update.measures() }),
        state,
        penalty: penalty(&recipe),
        regularizers,
        optimizer: options.optimizer,
        batch_norm: plan.batch_norm,
        precision: precision(&step)?,
        prediction: Some(PredictionPort {
            output: plan.prediction.name.clone(),
            activation: plan.prediction.tail.activation,
            loss: plan.loss.kind().into(),
        }),
        left_out: plan.left_out.iter().filter(|l| l.kept).map(|l| l.output.clone()).collect(),
        class_count: Some(plan.classes),
        classes: classes(network.source(), options, &plan, model)?,
        preprocessing,
        data,
        rewriting: Some(Rewriting::of(options)?),
        files: Default::default(),
    };
    let source = network.into_source();
    Ok(Product {
        source,
        options: options.clone(),
        plan,
        step: step.graph,
        gradients,
        update,
        evaluation,
        state: step.state,
        stopped,
        assumed,
        own_preparation: own,
        manifest,
    })
}

impl Product {
    /// How many images the network for evaluation takes, where it takes a fixed number.
    pub fn evaluation_batch(&self) -> Option<usize> {
        let data = self.evaluation.inputs.iter().position(|m| *m == Meaning::Data)?;
        let graph = &self.evaluation.graph;
        graph.ty(*graph.inputs.get(data)?).shape.first()?.known()
    }

    /// How many elements of all that a gradient could reach are trained, and how many there are.
    pub fn trained(&self) -> (usize, usize) {
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let is_trained = |s: &&State| matches!(s.role, Role::Shared | Role::New);
        let trained = self.manifest.state.iter().filter(is_trained).map(|s| count(&s.shape)).sum();
        let parameters = self.plan.parameters.iter().filter(|p| p.role != Role::Buffer).map(|p| count(&p.shape));
        (trained, parameters.chain(self.plan.fixed.iter().map(|f| count(&f.shape))).sum())
    }
}

fn port(graph: &Graph, value: ValueId) -> Port {
    let ty = graph.ty(value);
    Port {
        name: graph.name_of(value).into(),
        dtype: ty.dtype,
        shape: ty.shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect(),
    }
}

fn about(source: &SourceModel, model: &Path, opset: i64) -> Source {
    Source {
        file: model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: source.sha256.clone(),
        producer: format!("{} {}", source.proto.producer_name(), source.proto.producer_version()).trim().to_string(),
        opset,
    }
}

fn state(s: &StateTensor, step: &Step, gradients: &TrainingGraph, options: &Options, plan: &Plan) -> Result<State> {
    let graph = &step.graph.graph;
    let trained = matches!(s.role, Role::Shared | Role::New);
    let gradient = match options.split && trained {
        true => {
            let name = gradients.output(&Meaning::Gradient(s.name.clone()));
            Some(name.ok_or_else(|| Error::internal(format!("`{}` has no gradient", s.name)))?.to_string())
        }
        false => None,
    };
    Ok(State {
        name: s.name.clone(),
        role: s.role,
        dtype: s.ty.dtype,
        shape: s.ty.dims().ok_or_else(|| Error::internal(format!("the state `{}` has no fixed shape but {}", s.name, s.ty)))?,
        input: graph.name_of(s.input).into(),
        output: graph.name_of(s.next).into(),
        alias: s.alias.clone(),
        penalized: s.penalized,
        channel_axis: plan.channel_axis(&s.name),
        lr_mult: s.lr_mult,
        of: s.of.clone(),
        meaning: s.meaning,
        gradient,
        start: step.graph.input(&Meaning::Start(s.name.clone())).map(String::from),
        gradient_square: s.gradient_square.map(|v| graph.name_of(v).to_string()),
        update_gradient: s.update_gradient.map(|v| graph.name_of(v).to_string()),
    })
}

fn penalty(recipe: &Recipe) -> manifest::Penalty {
    manifest::Penalty {
        kind: recipe.penalty_kind().into(),
        parameters: match &recipe.options.penalize {
            Penalize::Weights => "weights".into(),
            Penalize::All => "all".into(),
            Penalize::Patterns(list) => list.join(" "),
        },
        step: recipe.options.penalty_step,
    }
}

fn precision(step: &Step) -> Result<crate::ir::DType> {
    let first = step.state.first().ok_or_else(|| Error::internal("the step has no state"))?;
    Ok(first.ty.dtype)
}

/// A kept head keeps its names, which the model may know.
fn classes(source: &SourceModel, options: &Options, plan: &Plan, model: &Path) -> Result<Vec<String>> {
    match options.head {
        HeadOption::Keep => class_names(&source.proto, &plan.prediction.name)?.choose(&options.classes, Some(plan.classes), model),
        HeadOption::Classes(_) => Ok(options.classes.clone()),
    }
}
