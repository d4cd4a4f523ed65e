//! The optimizers of ONNX Runtime's training API, and what of spgraph's they can do.

use super::ort_checkpoint::{Moments, OrtCheckpoint};
use crate::bundle::manifest::{Manifest, Role, State};
use crate::bundle::{Measure, PenaltyStep, StateMeaning};
use crate::emit::value_info;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor, TensorType};
use crate::onnx::{attributes as a, pb};
use crate::optim::UpdateRule;
use std::collections::HashMap;

/// The domain of ONNX Runtime's own operators.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// Who moves the parameters, and what the training model does for it.
pub(super) enum Moved {
    /// `SGDOptimizerV2`, which has no momentum: the training model keeps it, and gives directions for gradients.
    Sgd { momentum: f64, nesterov: bool },
    /// `AdamWOptimizer`.
    AdamW,
}

/// How the bundle's optimizer is taken over. Fails with the reason where it cannot be.
pub(super) fn moved(manifest: &Manifest) -> Result<Moved> {
    let optimizer = &manifest.optimizer;
    let refused = |what: &str| {
        Err(Error::usage(format!(
            "ONNX Runtime's training API cannot do {what}: its optimizers are SGD and AdamW, and nothing comes after them. Rewrite the model without it, or take another artifact"
        )))
    };
    if optimizer.ema.is_some() {
        return refused("a moving average of the weights");
    }
    if optimizer.spd.is_some() {
        return refused("selective projection decay");
    }
    if manifest.state.iter().any(|s| s.meaning == Some(StateMeaning::Random)) {
        return refused("dropout, whose masks follow from a count of steps in int64");
    }
    match manifest.penalty.step {
        PenaltyStep::Gradient => {}
        PenaltyStep::Proximal => return refused("a proximal step of the penalty"),
        PenaltyStep::Decoupled => return refused("a decoupled step of the penalty"),
    }
    match optimizer.rule {
        UpdateRule::Sgd(sgd) => Ok(Moved::Sgd { momentum: sgd.momentum, nesterov: sgd.nesterov }),
        UpdateRule::AdamW(_) if manifest.outputs.iter().any(|o| o.meaning == Measure::LossScale) => {
            refused("AdamW with float16's loss scale, since its optimizer takes a step that has overflowed as well")
        }
        UpdateRule::AdamW(_) if manifest.state.iter().any(|s| s.lr_mult != 1.0) => {
            refused("learning rates of their own for some parameters with AdamW")
        }
        UpdateRule::AdamW(_) => Ok(Moved::AdamW),
        other => refused(&format!("the optimizer {}", other.kind())),
    }
}

/// The moments of one parameter by their order.
fn moments<'a>(manifest: &'a Manifest, parameter: &str) -> Vec<&'a State> {
    manifest.state.iter().filter(|s| s.role == Role::Optimizer && s.of.as_deref() == Some(parameter)).collect()
}

/// State of AdamW that all parameters have in common: its two corrections.
fn corrections(manifest: &Manifest) -> Vec<&State> {
    manifest.state.iter().filter(|s| s.role == Role::Optimizer && s.of.is_none()).collect()
}

/// The value of a state tensor.
pub(super) fn value_of<'a>(values: &HashMap<&str, &'a Tensor>, state: &State) -> Result<&'a Tensor> {
    values.get(state.name.as_str()).copied().ok_or_else(|| Error::internal(format!("the state tensor `{}` has no value", state.name)))
}

fn number_of(tensor: &Tensor) -> Result<f64> {
    tensor.to_f64()?.first().copied().ok_or_else(|| Error::internal("a correction of AdamW has no value"))
}

/// AdamW's moments with their number of steps, of a state that is not at its start.
pub(super) fn step_of(manifest: &Manifest, values: &HashMap<&str, &Tensor>) -> Result<Option<(i64, Vec<Moments>)>> {
    let UpdateRule::AdamW(adam) = manifest.optimizer.rule else { return Ok(None) };
    let [first, second] = corrections(manifest)[..] else { return Err(Error::internal("AdamW has two corrections")) };
    let (first, second) = (number_of(value_of(values, first)?)?, number_of(value_of(values, second)?)?);
    if second == 0.0 {
        return Ok(None);
    }
    // c = 1 − βᵗ; the slower one still tells steps apart when the faster one is 1.
    let count = |c: f64, beta: f64| if beta > 0.0 && c < 1.0 { (1.0 - c).ln() / beta.ln() } else { f64::NAN };
    let steps = [count(second, adam.beta2), count(first, adam.beta1)].into_iter().find(|t| t.is_finite()).unwrap_or(f64::NAN);
    if !steps.is_finite() {
        return Err(Error::model(
            "the number of AdamW's steps cannot be told from its state any more: take another artifact, or begin the optimizer anew",
        ));
    }
    let of = |p: &State| -> Result<Moments> {
        let own = moments(manifest, &p.name).into_iter().map(|m| Ok(value_of(values, m)?.clone()));
        Ok((p.input.clone(), own.collect::<Result<_>>()?))
    };
    let trained = manifest.state.iter().filter(|s| matches!(s.role, Role::Shared | Role::New));
    Ok(Some((steps.round() as i64, trained.map(of).collect::<Result<_>>()?)))
}

/// What a correction of AdamW is after so many steps: as the step itself adds it up, in its own precision.
fn correction(dtype: DType, beta: f64, steps: i64) -> f64 {
    let share = 1.0 - beta;
    let (mut single, mut double) = (0f32, 0f64);
    for _ in 0..steps {
        let before = (single, double);
        single += share as f32 * (1.0 - single);
        double += share * (1.0 - double);
        if before == (single, double) {
            break;
        }
    }
    if dtype == DType::F32 { f64::from(single) } else { double }
}

/// What a checkpoint holds of a bundle's training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// In the manifest's order.
    pub state: Vec<Tensor>,
    /// How many steps the optimizer counted, where it did.
    pub steps: Option<i64>,
    /// Whether the optimizer's part of the state is the checkpoint's; else it is that of the start.
    pub optimizer: bool,
}

/// The state of a checkpoint that was trained from `start`. Fails where it is one of another model.
pub fn state_of(checkpoint: &OrtCheckpoint, manifest: &Manifest, start: &[Tensor]) -> Result<Trained> {
    let foreign =
        |why: String| Error::model(format!("the checkpoint is not of this bundle: {why}. Give the bundle that its artifact was made of"));
    if let Some((_, source)) = checkpoint.texts.iter().find(|(name, _)| name == super::ort_checkpoint::SOURCE)
        && *source != manifest.source.sha256
    {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
        return Err(foreign(format!("its model has the SHA-256 {}…, and the bundle's {}…", short(source), short(&manifest.source.sha256))));
    }
    moved(manifest)?;
    let mut found: HashMap<&str, &Tensor> =
        checkpoint.trained.iter().chain(&checkpoint.frozen).map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut steps = None;
    let adam = match (manifest.optimizer.rule, &checkpoint.optimizer) {
        (UpdateRule::AdamW(adam), Some((step, list))) => {
            steps = Some(*step);
            for (parameter, tensors) in list {
                let Some(p) = manifest.state.iter().find(|s| s.input == *parameter) else { continue };
                found.extend(moments(manifest, &p.name).iter().map(|m| m.input.as_str()).zip(tensors));
            }
            Some((adam, *step))
        }
        (UpdateRule::Sgd(_), Some((step, _))) => {
            steps = Some(*step);
            None
        }
        _ => None,
    };
    let corrections = corrections(manifest);
    let (mut state, mut optimizer) = (vec![], true);
    for (s, start) in manifest.state.iter().zip(start) {
        let tensor = match (found.remove(s.input.as_str()), corrections.iter().position(|c| c.name == s.name), &adam) {
            (Some(tensor), ..) => tensor.clone(),
            (None, Some(at), Some((adam, step))) => {
                let beta = if at == 0 { adam.beta1 } else { adam.beta2 };
                Tensor::from_floats(s.dtype, &s.shape, &[correction(s.dtype, beta, *step)])
            }
            // The optimizer had not moved yet, or was not saved.
            (None, ..) if s.role == Role::Optimizer => {
                optimizer = false;
                start.clone()
            }
            (None, ..) => return Err(foreign(format!("it lacks `{}`", s.alias))),
        };
        if tensor.shape() != s.shape || tensor.dtype() != s.dtype {
            return Err(foreign(format!("`{}` is {} in it, and {}{:?} in the bundle", s.alias, tensor.ty(), s.dtype, s.shape)));
        }
        if !tensor.to_f64()?.iter().all(|v| v.is_finite()) {
            return Err(Error::training(format!(
                "`{}` has values that are no numbers: the training diverged. Lower the learning rate",
                s.alias
            )));
        }
        state.push(tensor);
    }
    match found.keys().min() {
        Some(other) if found.keys().any(|name| checkpoint.trained.iter().any(|(n, _)| n == name)) => {
            Err(foreign(format!("it has `{other}`, which the bundle does not train")))
        }
        _ => Ok(Trained { state, steps, optimizer }),
    }
}

/// Learning rate, step, parameters, gradients, moments → that they were moved.
pub(super) fn optimizer_model(manifest: &Manifest) -> Result<pb::ModelProto> {
    let sequence = |name: &str| {
        let element = value_info("", &TensorType::scalar(DType::F32)).r#type.map(|mut t| {
            if let Some(pb::type_proto::Value::TensorType(t)) = &mut t.value {
                t.shape = None;
            }
            Box::new(t)
        });
        let value = pb::type_proto::Value::SequenceType(Box::new(pb::type_proto::Sequence { elem_type: element }));
        pb::ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(pb::TypeProto { value: Some(value), ..Default::default() }),
            ..Default::default()
        }
    };
    let one = |dtype| TensorType::new(dtype, [1usize]);
    let mut inputs = vec![value_info("learning_rate", &one(DType::F32)), value_info("step", &one(DType::I64))];
    inputs.extend(["params", "gradients", "first_order_moments"].map(sequence));
    let float = |name: &str, value: f64| a::attr_float(name, value as f32);
    let (op, read, attributes) = match (moved(manifest)?, manifest.optimizer.rule) {
        (Moved::AdamW, UpdateRule::AdamW(adam)) => {
            inputs.push(sequence("second_order_moments"));
            let numbers = [("alpha", adam.beta1), ("beta", adam.beta2), ("epsilon", adam.eps), ("weight_decay", adam.weight_decay)];
            let kinds = [a::attr_int("correct_bias", 1), a::attr_int("adam_mode", 0)];
            let attributes = numbers.iter().map(|(name, value)| float(name, *value)).chain(kinds).collect();
            (
                "AdamWOptimizer",
                vec!["learning_rate", "step", "params", "gradients", "first_order_moments", "second_order_moments"],
                attributes,
            )
        }
        _ => ("SGDOptimizerV2", vec!["learning_rate", "params", "gradients"], vec![]),
    };
    let node = pb::NodeProto {
        name: Some("optimizer".into()),
        op_type: Some(op.into()),
        domain: Some(MICROSOFT.into()),
        input: read.into_iter().map(String::from).collect(),
        output: vec!["updated".into()],
        attribute: attributes,
        ..Default::default()
    };
    let opset = |domain: &str, version| pb::OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    Ok(pb::ModelProto {
        ir_version: Some(8),
        producer_name: Some("spgraph".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: vec![opset("", crate::operator::OPSET), opset(MICROSOFT, 1)],
        graph: Some(pb::GraphProto {
            name: Some("optimizer".into()),
            node: vec![node],
            input: inputs,
            output: vec![value_info("updated", &TensorType::scalar(DType::Bool))],
            ..Default::default()
        }),
        ..Default::default()
    })
}
