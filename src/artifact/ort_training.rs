//! What ONNX Runtime's training API (up to 1.19.2) loads: a training model that adds gradients up in buffers, a model for evaluation, one of the API's own
//! optimizers, and the parameters in a checkpoint.
//!
//! The penalty is part of the gradients, and so is the clipping of their norm. State that training moves without a gradient (BatchNorm's statistics, SGD's
//! momenta) are parameters without gradient, which the training model writes itself.

use super::Artifact;
use super::files::Files;
use super::models::Models;
use super::ort_checkpoint::{LEARNING_RATE, OrtCheckpoint, SOURCE};
use super::ort_optimizer::{MICROSOFT, Moved, moved, optimizer_model, step_of, value_of};
use crate::bundle::manifest::{Manifest, Role, State, output_of};
use crate::bundle::{Measure, Setting};
use crate::emit::{self, Dialect, value_info};
use crate::error::{Error, Result};
use crate::ir::{Attrs, DType, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::pb;
use crate::operator::OPSET;
use crate::pass::{self, FixValues, Inline};
use crate::storage::files::write_whole;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The row of the table.
pub struct OrtTrainingArtifact;

const TRAINING: &str = "training_model.onnx";
const EVAL: &str = "eval_model.onnx";
const OPTIMIZER: &str = "optimizer_model.onnx";
const CHECKPOINT: &str = "checkpoint";
const NOMINAL: &str = "nominal_checkpoint";

impl Artifact for OrtTrainingArtifact {
    fn name(&self) -> &'static str {
        "ort-training"
    }

    fn marker(&self) -> &'static str {
        TRAINING
    }

    fn notes(&self, manifest: &Manifest) -> Vec<String> {
        let kept: Vec<&str> = [
            ("the momentum", matches!(moved(manifest), Ok(Moved::Sgd { momentum, .. }) if momentum > 0.0)),
            ("the clipping of gradients", manifest.optimizer.clip_norm.is_some()),
        ]
        .iter()
        .filter(|(_, there)| *there)
        .map(|(what, _)| *what)
        .collect();
        match kept.is_empty() {
            true => vec![],
            false => vec![format!(
                "{} is a part of the training model, since the API's optimizers have none: let the optimizer step after every batch, and add up no gradients",
                kept.join(" and ")
            )],
        }
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        let (training, eval) = (training_model(models)?, eval_model(models)?);
        let checkpoint = checkpoint(models)?;
        let mut files = Files::new(dir, false);
        files.write_whole(TRAINING, &training)?;
        files.write_whole(EVAL, &eval)?;
        files.write_whole(OPTIMIZER, &optimizer_model(&models.manifest)?)?;
        let written = files.finish(&[TRAINING, EVAL, OPTIMIZER])?;
        for (name, nominal) in [(CHECKPOINT, false), (NOMINAL, true)] {
            write_whole(&dir.join(name), true, &checkpoint.bytes(nominal)?)?;
        }
        Ok(written.into_iter().map(|f| f.0).chain([CHECKPOINT.into(), NOMINAL.into()]).collect())
    }
}

/// Parameters with a gradient, then those that the training model writes itself.
fn parameters(manifest: &Manifest) -> Result<(Vec<&State>, Vec<&State>)> {
    let moved = moved(manifest)?;
    let of = |roles: &[Role]| manifest.state.iter().filter(|s| roles.contains(&s.role)).collect::<Vec<_>>();
    let own = match moved {
        Moved::Sgd { .. } => of(&[Role::Buffer, Role::Optimizer]),
        Moved::AdamW => of(&[Role::Buffer]),
    };
    let (trained, own) = (of(&[Role::Shared, Role::New]), own);
    if let Some(s) = trained.iter().chain(&own).find(|s| s.dtype != DType::F32) {
        return Err(Error::model(format!(
            "`{}` is {}, and ONNX Runtime's training API has float32 only: take another artifact",
            s.alias, s.dtype
        )));
    }
    Ok((trained, own))
}

/// The checkpoint of a state.
fn checkpoint(models: &Models) -> Result<OrtCheckpoint> {
    let manifest = &models.manifest;
    let (trained, own) = parameters(manifest)?;
    let state = models.whole_state()?;
    let values: HashMap<&str, &Tensor> = manifest.state.iter().map(|s| s.name.as_str()).zip(&state).collect();
    let tensors = |list: &[&State]| list.iter().map(|s| Ok((s.input.clone(), value_of(&values, s)?.clone()))).collect::<Result<Vec<_>>>();
    let lr = manifest.scalar(&Setting::LearningRate).map(|s| (LEARNING_RATE.to_string(), s.default as f32));
    Ok(OrtCheckpoint {
        optimizer: step_of(manifest, &values)?,
        trained: tensors(&trained)?,
        frozen: tensors(&own)?,
        floats: lr.into_iter().collect(),
        texts: vec![(SOURCE.into(), manifest.source.sha256.clone())],
    })
}

/// A declaration of a parameter.
fn port(state: &State) -> pb::ValueInfoProto {
    value_info(&state.input, &TensorType::new(state.dtype, state.shape.iter().copied()))
}

fn one(dtype: DType) -> TensorType {
    TensorType::new(dtype, [1usize])
}

/// The step of a bundle, and what the training model has besides.
struct Training {
    graph: Graph,
    /// Nodes of the API's own operator, which no graph here knows.
    accumulating: Vec<pb::NodeProto>,
    /// What each of them says.
    flags: Vec<pb::ValueInfoProto>,
    /// What they read of the graph.
    read: Vec<ValueId>,
}

/// What tells whether a buffer begins anew.
#[derive(Clone, Copy)]
enum When<'n> {
    /// An input that the model gets for it.
    Input(&'n str),
    /// A value of the graph.
    Value(ValueId),
}

impl Training {
    fn find(&self, name: &str) -> Result<ValueId> {
        self.graph.find(name).ok_or_else(|| Error::model(format!("the step computes no `{name}`: run `spgraph rewrite` again")))
    }

    /// A name that no value has yet.
    fn fresh(&self, base: &str) -> String {
        let mut name = base.to_string();
        while self.graph.find(&name).is_some() {
            name.push('_');
        }
        name
    }

    /// A number that is of the parameter's rank.
    fn number(&mut self, p: &State, value: f64) -> ValueId {
        let name = self.fresh(&format!("{}.factor", p.input));
        self.graph.constant_as(&name, Tensor::from_f32(&vec![1; p.shape.len()], &[value as f32]))
    }

    /// A step on the way to the direction into which a parameter is moved.
    fn direction(&mut self, p: &State, op: &str, [a, b]: [ValueId; 2]) -> ValueId {
        let name = self.fresh(&format!("{}.direction", p.input));
        let node = Node::new(name.clone(), op, vec![Some(a), Some(b)], Attrs::new());
        self.graph.single_as(node, (name, TensorType::new(p.dtype, p.shape.iter().copied())))
    }

    /// Writes a value to a buffer; where `when` is an input that says no, adds it to what is there.
    fn accumulate(&mut self, parameter: &str, to: &str, value: ValueId, when: When) {
        let name = format!("{parameter}_grad.accumulation");
        let flag = format!("{name}.out");
        let when = match when {
            When::Input(name) => name,
            When::Value(v) => {
                self.read.push(v);
                self.graph.name_of(v)
            }
        };
        self.accumulating.push(pb::NodeProto {
            name: Some(name),
            op_type: Some("InPlaceAccumulatorV2".into()),
            domain: Some(MICROSOFT.into()),
            input: vec![to.into(), self.graph.name_of(value).into(), when.into()],
            output: vec![flag.clone()],
            ..Default::default()
        });
        self.flags.push(value_info(&flag, &one(DType::Bool)));
        self.read.push(value);
    }
}

/// Images, labels, parameters, buffers → the loss, and that each buffer was written.
fn training_model(models: &Models) -> Result<pb::ModelProto> {
    let manifest = &models.manifest;
    let (trained, own) = parameters(manifest)?;
    let mut graph = models.step_graph()?;
    pass::apply(&mut graph, &[&FixValues { values: models.defaults(), dropped: HashSet::new() }])?;
    let mut training = Training { graph, accumulating: vec![], flags: vec![], read: vec![] };
    let loss = output_of(&manifest.outputs, Measure::Loss).ok_or_else(|| Error::internal("the step gives no loss"))?;
    let loss = training.find(loss)?;
    let always = training.fresh("always");
    let always = When::Value(training.graph.constant_as(&always, Tensor::new(DType::Bool, vec![1], vec![1u8])?));
    let (reset, mut buffers) = ("lazy_reset_grad", vec![]);
    for p in &trained {
        let gradient = p.update_gradient.as_ref().ok_or_else(|| {
            Error::model(
                "the bundle does not say which values are its gradients: it was written by an older spgraph. Rewrite the model with this one",
            )
        })?;
        let gradient = training.find(gradient)?;
        let mut direction = gradient;
        if let Moved::Sgd { momentum, nesterov } = moved(manifest)?
            && let Some(velocity) = own.iter().find(|s| s.role == Role::Optimizer && s.of.as_ref() == Some(&p.name))
        {
            let (mu, before) = (training.number(p, momentum), training.find(&velocity.input)?);
            let kept = training.direction(p, "Mul", [before, mu]);
            let next = training.direction(p, "Add", [kept, gradient]);
            direction = match nesterov {
                false => next,
                true => {
                    let ahead = training.direction(p, "Mul", [next, mu]);
                    training.direction(p, "Add", [gradient, ahead])
                }
            };
            training.accumulate(&velocity.input, &velocity.input, next, always);
        }
        if p.lr_mult != 1.0 {
            let factor = training.number(p, p.lr_mult);
            direction = training.direction(p, "Mul", [direction, factor]);
        }
        let buffer = format!("{}_grad.accumulation.buffer", p.input);
        training.accumulate(&p.input, &buffer, direction, When::Input(reset));
        buffers.push(value_info(&buffer, &TensorType::new(p.dtype, p.shape.iter().copied())));
    }
    for s in own.iter().filter(|s| s.role == Role::Buffer) {
        let next = training.find(&s.output)?;
        training.accumulate(&s.input, &s.input, next, always);
    }
    let Training { mut graph, accumulating, flags, read } = training;
    // Whatever is not needed for these goes.
    graph.outputs = std::iter::once(loss).chain(read).collect();
    graph.name = "training".into();
    pass::apply(&mut graph, &[&Inline])?;
    let mut model = emit::model(&graph, Dialect::Functions)?;
    let opset = emit::opset_of(&models.step).ok_or_else(|| Error::model("the bundle's step says no opset: run `spgraph rewrite` again"))?;
    if opset != OPSET {
        emit::to_opset(&mut model, opset)?;
    }
    let graph = Models::graph(&mut model)?;
    graph.output.truncate(1);
    graph.output.extend(flags);
    graph.node.extend(accumulating);
    let user = [&manifest.data.input.name, &manifest.data.target.name];
    graph.input.retain(|i| user.contains(&&i.name().to_string()));
    graph.input.extend(trained.iter().chain(&own).map(|s| port(s)).chain(buffers).chain([value_info(reset, &one(DType::Bool))]));
    own_domains(&mut model, true);
    Ok(model)
}

/// The network's own outputs, from the images and the same parameters in the same order.
fn eval_model(models: &Models) -> Result<pb::ModelProto> {
    let (trained, own) = parameters(&models.manifest)?;
    let mut model = models.evaluation.clone();
    let graph = Models::graph(&mut model)?;
    let weights: HashSet<&str> = models.manifest.state.iter().map(|s| s.input.as_str()).collect();
    graph.input.retain(|i| !weights.contains(i.name()));
    graph.input.extend(trained.iter().chain(&own).map(|s| port(s)));
    own_domains(&mut model, false);
    Ok(model)
}

/// Only the domains that a model without functions has.
fn own_domains(model: &mut pb::ModelProto, microsoft: bool) {
    model.opset_import.retain(|o| o.domain().is_empty());
    if microsoft {
        model.opset_import.push(pb::OperatorSetIdProto { domain: Some(MICROSOFT.into()), version: Some(1) });
    }
}
