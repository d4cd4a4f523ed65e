//! The graphs of a bundle: one training step, its two halves, and the network for evaluation.

use super::head::logits;
use super::options::Options;
use super::plan::Plan;
use super::regularizers::{self, Added, Networks, flat};
use super::strengths::{Acting, Penalties, Site};
use super::update::{Pull, update};
use crate::bundle::Setting;
use crate::bundle::manifest::{BatchNormMode, Role, Scalar};
use crate::error::{Error, Refusal, Result};
use crate::grad;
use crate::import::{Imported, Network};
use crate::ir::{DType, Dim, Graph, Tensor, TensorType, ValueId};
use crate::loss::{self, Loss};
use crate::operator::Builder;
use crate::pass::{self, Alternatives, start_constant};
use std::collections::HashMap;

/// A state tensor in a graph.
#[derive(Debug, Clone)]
pub struct StateTensor {
    pub name: String,
    pub alias: String,
    pub role: Role,
    pub penalized: bool,
    /// Factor on the learning rate.
    pub lr_mult: f64,
    /// The parameter that optimizer state or an average belongs to.
    pub of: Option<String>,
    /// The value at the start; `None` is zero, or for an average that of its parameter.
    pub start: Option<Tensor>,
    pub ty: TensorType,
    pub input: ValueId,
    pub next: ValueId,
}

/// What differentiation leaves: the graph up to the gradients.
pub struct Backward {
    pub graph: Graph,
    pub data: ValueId,
    pub target: ValueId,
    pub loss: Loss,
    /// Trainable parameters; `next` is not set yet and equals `input`.
    pub parameters: Vec<StateTensor>,
    /// The data loss's gradient for each of them.
    pub gradients: Vec<ValueId>,
    pub buffers: Vec<StateTensor>,
    /// The regularizers, whose gradients are part of `gradients`.
    pub regularizers: Added,
}

/// Inputs and results of the optimizer's half.
pub struct Updates {
    pub scalars: Vec<(Scalar, ValueId)>,
    pub penalty: ValueId,
    /// Parameters with their next values, then the optimizer's own state.
    pub parameters: Vec<StateTensor>,
    pub optimizer: Vec<StateTensor>,
}

pub(super) fn failed(what: &'static str) -> impl Fn(String) -> Error {
    move |reason| Error::Unsupported(vec![Refusal { node: what.into(), op: "spgraph".into(), reason }])
}

/// The network with loss and gradients, from its form for inference. `original` is the source as it was given, before its head was replaced.
pub fn backward(imported: &Imported, original: &Network, options: &Options, plan: &Plan) -> Result<Backward> {
    let mut graph = imported.graph.clone();
    let updates = match plan.batch_norm {
        BatchNormMode::Train => pass::train_batch_norm(&mut graph, &plan.frozen_norms, &imported.training)?,
        _ => vec![],
    };
    let tuned = imported.over(graph)?;
    let (mut graph, input) = (tuned.graph.clone(), tuned.input);
    let logits = logits(&graph)?;
    graph.outputs.clear();
    let logits = flat(&mut graph, logits).map_err(failed("logits"))?;
    let rows = graph.ty(logits).shape[0];
    let target = graph.input("target", TensorType { dtype: DType::I64, shape: vec![rows] });
    let mut b = Builder::new(&mut graph);
    b.scope("loss");
    let loss = loss::cross_entropy(&mut b, logits, target, options.label_smoothing).map_err(failed("loss"))?;

    let regularizers = match options.regularizers.is_empty() {
        true => Added::default(),
        false => {
            let before = original.at(options.batch)?;
            let networks = Networks { tuned: &tuned, source: &before, sha256: &original.source().sha256, logits, target };
            regularizers::add(&mut graph, options, plan, &networks)?
        }
    };

    let mut parameters = vec![];
    for p in plan.parameters.iter().filter(|p| !p.frozen && p.role != Role::Buffer) {
        let there = graph.find(&p.parameter.name).and_then(|v| Some((v, graph.value(v).constant.clone()?)));
        let (value, start) = there.ok_or_else(|| Error::internal(format!("the training graph has lost `{}`", p.parameter.name)))?;
        parameters.push(StateTensor {
            name: p.parameter.name.clone(),
            alias: p.parameter.alias.clone(),
            role: p.role,
            penalized: p.penalized,
            lr_mult: 1.0,
            of: None,
            ty: start.ty(),
            start: Some(start),
            input: value,
            next: value,
        });
    }
    let wanted: Vec<ValueId> = parameters.iter().map(|p| p.input).collect();
    let seeds: Vec<(ValueId, ValueId)> = std::iter::once((logits, loss.gradient)).chain(regularizers.seeds.iter().copied()).collect();
    let found = grad::backward(&mut graph, &seeds, &wanted).map_err(Error::Unsupported)?;
    // A parameter that the loss does not depend on stays the constant that it is.
    parameters.retain(|p| found.contains_key(&p.input));
    super::rates::multiply(&mut parameters, &options.lr_mult, &plan.parameters)?;
    if parameters.is_empty() {
        return Err(Error::model("the loss depends on none of the parameters that could be trained"));
    }
    let mut gradients = vec![];
    for p in &parameters {
        graph.constant_to_input(p.input);
        gradients.push(own_name(&mut graph, found[&p.input], &format!("{}.grad", p.name), usize::MAX)?);
    }
    let aliases: HashMap<&str, &str> = plan.parameters.iter().map(|p| (p.parameter.name.as_str(), p.parameter.alias.as_str())).collect();
    let mut buffers = vec![];
    for update in updates.iter() {
        for (running, next) in [(update.running_mean, update.next_mean), (update.running_variance, update.next_variance)] {
            let name = graph.name_of(running).to_string();
            let start = graph.constant_to_input(running);
            let next = own_name(&mut graph, next, &format!("{name}.next"), usize::MAX)?;
            buffers.push(StateTensor {
                alias: aliases.get(name.as_str()).map_or_else(|| name.clone(), |a| a.to_string()),
                name,
                role: Role::Buffer,
                penalized: false,
                lr_mult: 1.0,
                of: None,
                start,
                ty: graph.ty(running).clone(),
                input: running,
                next,
            });
        }
    }
    pass::apply(&mut graph, &[&Alternatives])?;
    Ok(Backward { graph, data: input, target, loss, parameters, gradients, buffers, regularizers })
}

/// Gives the value that name; through an Identity where another name is known for it: where no node from `built` on computes it, or
/// it is the next value of something else.
pub(super) fn own_name(graph: &mut Graph, value: ValueId, name: &str, built: usize) -> Result<ValueId> {
    if graph.name_of(value) == name {
        return Ok(value);
    }
    if graph.value(value).producer.is_some_and(|node| node >= built) && !graph.name_of(value).ends_with(".next") {
        graph.rename(value, name);
        return Ok(value);
    }
    let mut b = Builder::new(graph);
    let copy = b.op("Identity", &[value], Default::default()).map_err(failed("naming"))?;
    graph.rename(copy, name);
    Ok(copy)
}

/// Scalar inputs, and scalars brought to each rank once.
pub(super) struct Scalars {
    inputs: Vec<(Scalar, ValueId)>,
    by_rank: HashMap<(ValueId, usize), ValueId>,
    products: Vec<(ValueId, f64, ValueId)>,
}

impl Scalars {
    fn declare(&mut self, graph: &mut Graph, dtype: DType, meaning: Setting, default: f64) -> ValueId {
        let value = graph.input(&meaning.to_string(), TensorType::scalar(dtype));
        self.inputs.push((Scalar { name: graph.name_of(value).to_string(), meaning, default }, value));
        value
    }

    fn input(&self, meaning: &Setting) -> Option<ValueId> {
        self.inputs.iter().find(|(s, _)| s.meaning == *meaning).map(|s| s.1)
    }

    /// The scalar with `rank` axes of length 1.
    pub(super) fn at_rank(&mut self, b: &mut Builder, scalar: ValueId, rank: usize) -> std::result::Result<ValueId, String> {
        if let Some(&v) = self.by_rank.get(&(scalar, rank)) {
            return Ok(v);
        }
        let v = b.reshape(scalar, &vec![Dim::Known(1); rank])?;
        self.by_rank.insert((scalar, rank), v);
        Ok(v)
    }

    /// The scalar times a constant.
    pub(super) fn multiplied(&mut self, b: &mut Builder, scalar: ValueId, factor: f64) -> std::result::Result<ValueId, String> {
        if factor == 1.0 {
            return Ok(scalar);
        }
        if let Some((.., v)) = self.products.iter().find(|(s, f, _)| *s == scalar && *f == factor) {
            return Ok(*v);
        }
        let number = b.number(factor, scalar);
        let v = b.mul(scalar, number)?;
        self.products.push((scalar, factor, v));
        Ok(v)
    }
}

/// Adds penalty and optimizer for the given parameters and data gradients.
pub fn updates(
    graph: &mut Graph,
    options: &Options,
    penalties: Option<&Penalties>,
    mut parameters: Vec<StateTensor>,
    gradients: &[ValueId],
) -> Result<Updates> {
    let dtype = parameters.first().map_or(DType::F32, |p| p.ty.dtype);
    let mut scalars = Scalars { inputs: vec![], by_rank: HashMap::new(), products: vec![] };
    let lr = scalars.declare(graph, dtype, Setting::LearningRate, options.lr());
    for (meaning, default) in penalties.into_iter().flat_map(|p| &p.scalars) {
        scalars.declare(graph, dtype, meaning.clone(), *default);
    }
    let mut pulls = vec![];
    for (p, &gradient) in parameters.iter().zip(gradients) {
        let site = penalties.and_then(|all| all.on(graph, p));
        let start = match (site.as_ref().and_then(|s| s.start), p.role, &p.start) {
            (Some(start), ..) => Some(start),
            (None, Role::Shared, Some(t)) if options.optimizer.spd.is_some() => Some(start_constant(graph, &p.name, t)),
            _ => None,
        };
        let (gradient, penalty) = match site {
            Some(site) => penalized(graph, &mut scalars, p, gradient, site).map_err(failed("penalty"))?,
            None => (gradient, None),
        };
        pulls.push(Pull { gradient, start, penalty });
    }
    let optimizer = update(graph, options, &mut scalars, lr, &mut parameters, &pulls)?;
    let terms: Vec<ValueId> = pulls.iter().filter_map(|p| p.penalty.as_ref()).map(|a| a.value).collect();
    let mut b = Builder::new(graph);
    b.scope("penalty");
    let penalty = match terms.is_empty() {
        true => {
            let zero = b.constant(Tensor::from_floats(dtype, &[], &[0.0]));
            b.op("Identity", &[zero], Default::default())
        }
        false => b.op("Sum", &terms, Default::default()),
    };
    let penalty = penalty.map_err(failed("penalty"))?;
    Ok(Updates { scalars: scalars.inputs, penalty, parameters, optimizer })
}

/// What the optimizer gets as the gradient, and the penalty on the parameter.
fn penalized<'a>(
    graph: &mut Graph,
    scalars: &mut Scalars,
    p: &StateTensor,
    gradient: ValueId,
    site: Site<'a>,
) -> std::result::Result<(ValueId, Option<Acting<'a>>), String> {
    let rank = p.ty.rank();
    let mut b = Builder::new(graph);
    b.scope("scalars");
    let strength = scalars.input(site.scalar).ok_or_else(|| format!("the strength {} is no input", site.scalar))?;
    let scalar = scalars.at_rank(&mut b, strength, rank)?;
    b.scope(format!("{}.penalty", p.alias));
    let acting = site.act(&mut b, scalar)?;
    Ok((acting.gradient(&mut b, gradient)?, Some(acting)))
}

/// The network itself, with its state as inputs.
pub fn evaluation(network: &Imported, state: &[StateTensor]) -> Result<Graph> {
    let mut graph = network.graph.clone();
    for slot in state.iter().filter(|s| s.role.is_model()) {
        let value = graph.find(&slot.name);
        let value = value.ok_or_else(|| Error::model(format!("`{}` is missing from the network for evaluation", slot.name)))?;
        graph.constant_to_input(value);
    }
    Ok(graph)
}
