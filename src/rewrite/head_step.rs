//! A training step of the head alone, made from a bundle's `step.onnx`.

use crate::bundle::Bundle;
use crate::bundle::manifest::{Role, State};
use crate::emit::{self, Dialect};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Graph, Tensor};
use crate::onnx::{self, pb};
use crate::pass::{self, ClassWeights, FixValues};
use std::collections::HashSet;

/// Whether a step of the head alone moves it: the head, its optimizer state and averages, and BatchNorm's statistics, which the
/// forward pass computes anyway.
fn moves(state: &State, shared: &HashSet<&str>) -> bool {
    match &state.of {
        Some(parameter) => !shared.contains(parameter.as_str()),
        None => state.role != Role::Shared,
    }
}

/// The step, whose loss has those weights of the classes.
pub fn weighted_step(bundle: &Bundle, weights: &[f64]) -> Result<pb::ModelProto> {
    emit::model(&step_graph(bundle, Some(weights))?, Dialect::Functions)
}

/// The graph of `step.onnx`, whose loss has those weights of the classes. Fails where the loss cannot be found in it, or is not on labels.
fn step_graph(bundle: &Bundle, weights: Option<&[f64]>) -> Result<Graph> {
    let mut graph = emit::read(&onnx::open(bundle.step())?, None)?;
    let Some(weights) = weights else { return Ok(graph) };
    if bundle.manifest.data.target.dtype.is_float() {
        let why = " weigh labels, and the loss of this bundle takes a number for every score, as images that are mixed, several labels or numbers need. Leave out";
        return Err(Error::option(Field::CLASS_WEIGHTS, format!("{why} one of the two")));
    }
    if ClassWeights::place(&graph).is_none() {
        let why = " need a step that has its loss as a function of its own, and this bundle's is written out";
        return Err(Error::option(Field::CLASS_WEIGHTS, format!("{why}. Rewrite the model without the inlined dialect")));
    }
    pass::apply(&mut graph, &[&ClassWeights { weights: weights.to_vec() }])?;
    Ok(graph)
}

/// The step with everything that belongs to parameters with a starting point as constants of the values in `state` (in the manifest's
/// order). Also says of each state tensor whether it is still state. Such a step computes no gradient below the head, and a gradient
/// that is clipped is the head's own: as if those parameters had been frozen. Fails where the bundle has no new head.
pub fn head_step(bundle: &Bundle, weights: Option<&[f64]>, state: &[Tensor]) -> Result<(pb::ModelProto, Vec<bool>)> {
    let states = &bundle.manifest.state;
    if !states.iter().any(|s| s.role == Role::New) {
        let why = " needs a head that is new, and this bundle keeps the model's own: rewrite the model with";
        return Err(Error::option(Field::HEAD_FIRST, format!("{why} {}", Field::CLASSES)));
    }
    let shared: HashSet<&str> = states.iter().filter(|s| s.role == Role::Shared).map(|s| s.name.as_str()).collect();
    let live: Vec<bool> = states.iter().map(|s| moves(s, &shared)).collect();
    let fixed: Vec<(&State, &Tensor)> = states.iter().zip(state).zip(&live).filter(|(_, live)| !**live).map(|(pair, _)| pair).collect();
    let mut graph = step_graph(bundle, weights)?;
    let mut values: Vec<(String, Tensor)> = fixed.iter().map(|(s, tensor)| (s.input.clone(), (*tensor).clone())).collect();
    // Their gradients have no part in the global norm.
    for (s, tensor) in fixed.iter().filter(|(s, _)| s.role == Role::Shared) {
        let Some(square) = &s.gradient_square else { continue };
        if graph.find(square).is_none() {
            return Err(Error::model(format!("step.onnx computes no `{square}`: run `spgraph rewrite` again")));
        }
        values.push((square.clone(), Tensor::zeros(tensor.dtype(), &[])));
    }
    let dropped = fixed.iter().map(|(s, _)| s.output.clone()).collect();
    pass::apply(&mut graph, &[&FixValues { values, dropped }])?;
    Ok((emit::model(&graph, Dialect::Functions)?, live))
}
