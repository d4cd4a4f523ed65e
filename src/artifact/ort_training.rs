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
use crate::emit::value_info;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor, TensorType};
use crate::onnx::{inline_functions, pb, to_proto};
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

/// Names that no value has yet.
struct Fresh(HashSet<String>);

impl Fresh {
    fn name(&mut self, base: &str) -> String {
        let mut name = base.to_string();
        while !self.0.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

/// What the training model has besides the step.
struct Added {
    fresh: Fresh,
    nodes: Vec<pb::NodeProto>,
    constants: Vec<pb::TensorProto>,
}

impl Added {
    /// A number that is of the parameter's rank.
    fn number(&mut self, p: &State, value: f64) -> String {
        let name = self.fresh.name(&format!("{}.factor", p.input));
        self.constants.push(to_proto(&name, &Tensor::from_f32(&vec![1; p.shape.len()], &[value as f32])));
        name
    }

    fn node(&mut self, p: &State, op: &str, inputs: [&str; 2]) -> String {
        let output = self.fresh.name(&format!("{}.direction", p.input));
        self.nodes.push(node(op, &output, &inputs, &output, ""));
        output
    }
}

fn node(op: &str, name: &str, inputs: &[&str], output: &str, domain: &str) -> pb::NodeProto {
    pb::NodeProto {
        name: Some(name.into()),
        op_type: Some(op.into()),
        domain: Some(domain.to_string()).filter(|d| !d.is_empty()),
        input: inputs.iter().map(|i| i.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// Images, labels, parameters, buffers → the loss, and that each buffer was written.
fn training_model(models: &Models) -> Result<pb::ModelProto> {
    let manifest = &models.manifest;
    let (trained, own) = parameters(manifest)?;
    let mut model = models.step.clone();
    inline_functions(&mut model)?;
    let graph = Models::graph(&mut model)?;
    let values = graph.node.iter().flat_map(|n| n.output.iter().chain(&n.name)).cloned();
    let named = graph.input.iter().map(|i| i.name().to_string()).chain(graph.initializer.iter().map(|t| t.name().to_string()));
    let mut fresh = Fresh(values.chain(named).collect());
    let (mut nodes, mut constants, mut buffers, mut flags) = (vec![], vec![], vec![], vec![]);
    let always = fresh.name("always");
    constants.push(to_proto(&always, &Tensor::new(DType::Bool, vec![1], vec![1u8])?));
    let reset = "lazy_reset_grad";
    let mut accumulate = |to: &str, value: &str, when: &str, parameter: &str| {
        let flag = format!("{parameter}_grad.accumulation.out");
        nodes.push(node("InPlaceAccumulatorV2", &format!("{parameter}_grad.accumulation"), &[to, value, when], &flag, MICROSOFT));
        flags.push(value_info(&flag, &one(DType::Bool)));
    };
    let mut added = Added { fresh, nodes: vec![], constants };
    for p in &trained {
        let gradient = p.update_gradient.as_ref().ok_or_else(|| {
            Error::model(
                "the bundle does not say which values are its gradients: it was written by an older spgraph. Rewrite the model with this one",
            )
        })?;
        let mut direction = gradient.clone();
        if let Moved::Sgd { momentum, nesterov } = moved(manifest)?
            && let Some(velocity) = own.iter().find(|s| s.role == Role::Optimizer && s.of.as_ref() == Some(&p.name))
        {
            let mu = added.number(p, momentum);
            let kept = added.node(p, "Mul", [&velocity.input, &mu]);
            let next = added.node(p, "Add", [&kept, gradient]);
            direction = match nesterov {
                false => next.clone(),
                true => {
                    let ahead = added.node(p, "Mul", [&next, &mu]);
                    added.node(p, "Add", [gradient, &ahead])
                }
            };
            accumulate(&velocity.input, &next, &always, &velocity.input);
        }
        if p.lr_mult != 1.0 {
            let factor = added.number(p, p.lr_mult);
            direction = added.node(p, "Mul", [&direction, &factor]);
        }
        let buffer = format!("{}_grad.accumulation.buffer", p.input);
        accumulate(&buffer, &direction, reset, &p.input);
        buffers.push(value_info(&buffer, &TensorType::new(p.dtype, p.shape.iter().copied())));
    }
    for s in own.iter().filter(|s| s.role == Role::Buffer) {
        accumulate(&s.input, &s.output, &always, &s.input);
    }
    let loss = output_of(&manifest.outputs, Measure::Loss).ok_or_else(|| Error::internal("the step gives no loss"))?;
    graph.output.retain(|o| o.name() == loss);
    graph.output.extend(flags);
    graph.node.extend(added.nodes.into_iter().chain(nodes));
    graph.initializer.extend(models.defaults().into_iter().chain(added.constants));
    let user = [&manifest.data.input.name, &manifest.data.target.name];
    graph.input.retain(|i| user.contains(&&i.name().to_string()));
    graph.input.extend(trained.iter().chain(&own).map(|s| port(s)).chain(buffers).chain([value_info(reset, &one(DType::Bool))]));
    prune(graph);
    graph.name = Some("training".into());
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

/// Without what no output needs.
fn prune(graph: &mut pb::GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
    let mut kept = vec![];
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|o| needed.contains(o)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|t| needed.contains(t.name()));
}

/// Only the domains that a model without functions has.
fn own_domains(model: &mut pb::ModelProto, microsoft: bool) {
    model.opset_import.retain(|o| o.domain().is_empty());
    if microsoft {
        model.opset_import.push(pb::OperatorSetIdProto { domain: Some(MICROSOFT.into()), version: Some(1) });
    }
}
