//! The forward and backward half of a step: the network with its loss, the regularizers, and the gradients.

use super::loss_scale::LossScale;
use super::patterns::few;
use super::plan::Plan;
use super::prediction::Prediction;
use super::random;
use super::regularizers::{self, Added, Networks};
use super::state::{Names, StateTensor, failed};
use crate::bundle::Options;
use crate::bundle::manifest::{BatchNormMode, Role};
use crate::emit;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::grad;
use crate::import::{Imported, Network};
use crate::ir::{DType, Graph, TensorType, ValueId};
use crate::loss::{DataLoss, Loss};
use crate::operator::Builder;
use crate::ops::table::OPERATORS;
use crate::pass::{self, Alternatives, JoinProducts, MixedPrecision, NewerOperators};
use std::collections::{BTreeMap, HashMap};

/// What differentiation leaves: the graph up to the gradients.
pub(super) struct Backward {
    pub graph: Graph,
    pub data: ValueId,
    pub target: ValueId,
    pub loss: Loss,
    pub data_loss: &'static dyn DataLoss,
    /// Parameters that stay as they are, since the loss sees them only behind nodes whose gradient is zero everywhere: their aliases, by those nodes.
    pub stopped: BTreeMap<String, Vec<String>>,
    /// Trainable parameters; `next` is not set yet and equals `input`.
    pub parameters: Vec<StateTensor>,
    /// The data loss's gradient for each of them.
    pub gradients: Vec<ValueId>,
    pub buffers: Vec<StateTensor>,
    /// What dropout's masks are made of. Every batch moves it.
    pub random: Option<StateTensor>,
    /// The regularizers, whose gradients are part of `gradients`.
    pub regularizers: Added,
    /// The factor on the loss's gradient, which the gradients are divided by again.
    pub loss_scale: Option<LossScale>,
}

/// The network with loss and gradients, from its form for inference. `original` is the source as it was given, before its head was replaced.
pub(super) fn backward(imported: &Imported, original: &Network, options: &Options, plan: &Plan) -> Result<Backward> {
    let mut graph = imported.graph.clone();
    let mut random = random::drop_elements(&mut graph, original.source(), options, plan)?;
    let names: HashMap<ValueId, String> =
        random.iter().flat_map(|s| [s.input, s.next]).map(|v| (v, graph.name_of(v).to_string())).collect();
    let updates = match plan.batch_norm {
        BatchNormMode::Train => pass::train_batch_norm(&mut graph, &plan.frozen_norms, &imported.training)?,
        _ => vec![],
    };
    // A pass makes another graph, in which values are known by their names.
    for v in random.iter_mut().flat_map(|s| [&mut s.input, &mut s.next]) {
        *v = names.get(v).and_then(|name| graph.find(name)).ok_or_else(|| Error::internal("the masks of dropout are lost"))?;
    }
    let tuned = imported.over(graph)?;
    let (mut graph, input) = (tuned.graph.clone(), tuned.input);
    let prediction = Prediction::at(&graph, plan.prediction.index)?;
    graph.outputs.clear();
    let logits = prediction.tail.flat_logits(&mut graph).map_err(failed("the logits"))?;
    let scores = match plan.loss.reads_output() {
        true => prediction.tail.flat_output(&mut graph).map_err(failed("the output"))?,
        false => logits,
    };
    let labels = TensorType { dtype: DType::I64, shape: graph.ty(scores).shape.iter().take(1).copied().collect() };
    let target = graph.input("target", if options.soft_targets { graph.ty(scores).clone() } else { labels });
    let mut b = Builder::new(&mut graph);
    b.scope("loss");
    let loss = plan.loss.add(&mut b, scores, target, options.label_smoothing).map_err(failed("the loss"))?;

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
        let found = graph.find(&p.parameter.name).and_then(|v| Some((v, graph.value(v).constant.clone()?)));
        let (value, start) =
            found.ok_or_else(|| Error::internal(format!("the parameter `{}` is no constant of the training graph", p.parameter.name)))?;
        parameters.push(StateTensor {
            name: p.parameter.name.clone(),
            alias: p.parameter.alias.clone(),
            role: p.role,
            penalized: p.strength.is_some(),
            lr_mult: 1.0,
            of: None,
            meaning: None,
            ty: start.ty(),
            start: Some(start),
            input: value,
            next: value,
            gradient_square: None,
            update_gradient: None,
        });
    }
    let wanted: Vec<ValueId> = parameters.iter().map(|p| p.input).collect();
    let mut seeds: Vec<(ValueId, ValueId)> = std::iter::once((scores, loss.gradient)).chain(regularizers.seeds.iter().copied()).collect();
    let loss_scale = options.precision.scales_loss().then(|| LossScale::new(&mut graph));
    if let Some(scale) = &loss_scale {
        for (_, cotangent) in &mut seeds {
            *cotangent = scale.scaled(&mut graph, *cotangent)?;
        }
    }
    let found = grad::backward(&mut graph, &seeds, &wanted)?;
    // A parameter that the loss does not depend on stays the constant that it is.
    let mut stopped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let seeded: Vec<ValueId> = seeds.iter().map(|(value, _)| *value).collect();
    for p in parameters.iter().filter(|p| !found.contains_key(&p.input)) {
        let nodes = grad::stopped_by(&graph, &seeded, p.input);
        if !nodes.is_empty() {
            stopped.entry(few(nodes.iter().map(String::as_str))).or_default().push(p.alias.clone());
        }
    }
    let (mut trained, mut unnamed) = (vec![], vec![]);
    for p in parameters {
        if let Some(&gradient) = found.get(&p.input) {
            trained.push(p);
            unnamed.push(gradient);
        }
    }
    let mut parameters = trained;
    super::rates::multiply(&mut parameters, &options.lr_mult, &plan.parameters)?;
    if parameters.is_empty() {
        let nodes: Vec<&str> = stopped.keys().map(String::as_str).collect();
        return Err(match *nodes {
            [] => Error::model("the loss depends on none of the parameters that could be trained"),
            _ => Error::model(format!(
                "no parameter can be trained: the output depends on all of them only behind {}, whose gradient is zero everywhere. Export the network up to its logits",
                nodes.join("; ")
            )),
        });
    }
    let mut names = Names::from(usize::MAX);
    let mut gradients = vec![];
    if let Some(scale) = &loss_scale {
        unnamed = scale.unscaled(&mut graph, &unnamed)?;
    }
    for (p, gradient) in parameters.iter().zip(unnamed) {
        graph.constant_to_input(p.input);
        gradients.push(names.give(&mut graph, gradient, &format!("{}.grad", p.name))?);
    }
    let aliases: HashMap<&str, &str> = plan.parameters.iter().map(|p| (p.parameter.name.as_str(), p.parameter.alias.as_str())).collect();
    let mut buffers = vec![];
    for update in updates.iter() {
        for (running, next) in [(update.running_mean, update.next_mean), (update.running_variance, update.next_variance)] {
            let name = graph.name_of(running).to_string();
            let start = graph.constant_to_input(running);
            let next = names.give(&mut graph, next, &format!("{name}.next"))?;
            buffers.push(StateTensor {
                alias: aliases.get(name.as_str()).map_or_else(|| name.clone(), |a| a.to_string()),
                name,
                role: Role::Buffer,
                penalized: false,
                lr_mult: 1.0,
                of: None,
                meaning: None,
                start,
                ty: graph.ty(running).clone(),
                input: running,
                next,
                gradient_square: None,
                update_gradient: None,
            });
        }
    }
    if let Some(s) = &mut random {
        s.next = names.give(&mut graph, s.next, &format!("{}.next", s.name))?;
    }
    // Whoever takes an alternative away again would take roundings in it away.
    if !options.precision.is_rounded() {
        pass::apply(&mut graph, &[&Alternatives])?;
    }
    let mut back = Backward {
        graph,
        data: input,
        target,
        loss,
        data_loss: plan.loss,
        stopped,
        parameters,
        gradients,
        buffers,
        random,
        regularizers,
        loss_scale,
    };
    if let Some(half) = options.precision.half() {
        let operators = OPERATORS.iter().map(|o| o.op_type());
        let widened = emit::without_kernel(operators, options.form()?.opset, half);
        back.mix(&MixedPrecision { half, rounded: options.precision.is_rounded(), widened: &widened })?;
    }
    Ok(back)
}

impl Backward {
    /// Makes it one of mixed precision.
    fn mix(&mut self, mixed: &MixedPrecision) -> Result<()> {
        if let Some(p) = self.parameters.iter().chain(&self.buffers).find(|p| p.ty.dtype != DType::F32) {
            let why = format!(" is for networks of float32, and `{}` is {}", p.name, p.ty.dtype);
            return Err(Error::option(Field::MIXED_PRECISION, why));
        }
        // Whatever is an output stays float32.
        self.regularizers.seeds.clear();
        let mut outputs: Vec<ValueId> = self.values().into_iter().map(|v| *v).collect();
        outputs.retain(|v| !self.graph.inputs.contains(v));
        outputs.sort_unstable();
        outputs.dedup();
        self.graph.outputs.clone_from(&outputs);
        let before: Vec<ValueId> = self.graph.inputs.iter().copied().chain(outputs).collect();
        pass::apply(&mut self.graph, &[&NewerOperators, &JoinProducts, mixed])?;
        let after: Vec<ValueId> = self.graph.inputs.iter().chain(&self.graph.outputs).copied().collect();
        let moved: HashMap<ValueId, ValueId> = before.into_iter().zip(after).collect();
        for v in self.values() {
            *v = *moved.get(v).ok_or_else(|| Error::internal("a value has no place in the graph of mixed precision"))?;
        }
        self.graph.outputs.clear();
        Ok(())
    }

    /// Everything that is known of the graph.
    fn values(&mut self) -> Vec<&mut ValueId> {
        let Backward {
            graph: _,
            data,
            target,
            loss,
            data_loss: _,
            stopped: _,
            parameters,
            gradients,
            buffers,
            random,
            regularizers,
            loss_scale,
        } = self;
        let scaling = loss_scale.iter_mut().flat_map(|s| [&mut s.scale, &mut s.good]);
        let scaling = scaling.chain(random);
        let state = parameters.iter_mut().chain(buffers).chain(scaling).flat_map(|p| [&mut p.input, &mut p.next]);
        let added = regularizers.scalars.iter_mut().map(|(_, v)| v).chain(&mut regularizers.value);
        [data, target, &mut loss.value, &mut loss.gradient, &mut loss.correct]
            .into_iter()
            .chain(state)
            .chain(gradients)
            .chain(added)
            .collect()
    }
}
