//! A training step of the head alone, made from a bundle's `step.onnx`.

use super::update::square_name;
use crate::bundle::Bundle;
use crate::bundle::manifest::{Role, State};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::onnx::{self, pb, to_proto};
use std::collections::HashSet;

/// Whether a step of the head alone moves it: the head, its optimizer state and averages, and BatchNorm's statistics, which the
/// forward pass computes anyway.
fn moves(state: &State, shared: &HashSet<&str>) -> bool {
    match &state.of {
        Some(parameter) => !shared.contains(parameter.as_str()),
        None => state.role != Role::Shared,
    }
}

/// The step with everything that belongs to parameters with a starting point as constants of the values in `state` (in the manifest's
/// order). Also says of each state tensor whether it is still state. Such a step computes no gradient below the head, and a gradient
/// that is clipped is the head's own: as if those parameters had been frozen. Fails where the bundle has no new head.
pub fn head_step(bundle: &Bundle, state: &[Tensor]) -> Result<(pb::ModelProto, Vec<bool>)> {
    let states = &bundle.manifest.state;
    if !states.iter().any(|s| s.role == Role::New) {
        return Err(Error::usage(
            "--head-first needs a head that is new, and this bundle keeps the model's own: rewrite the model with --classes",
        ));
    }
    let shared: HashSet<&str> = states.iter().filter(|s| s.role == Role::Shared).map(|s| s.name.as_str()).collect();
    let live: Vec<bool> = states.iter().map(|s| moves(s, &shared)).collect();
    let source = onnx::read(bundle.step())?;
    let mut model = source.proto;
    onnx::inline_external(&mut model, &source.external)?;
    let graph = model.graph.as_mut().ok_or_else(|| Error::model("step.onnx has no graph: run `spgraph rewrite` again"))?;
    let fixed = || states.iter().zip(state).zip(&live).filter(|(_, live)| !**live).map(|(pair, _)| pair);
    let inputs: HashSet<&str> = fixed().map(|(s, _)| s.input.as_str()).collect();
    let outputs: HashSet<&str> = fixed().map(|(s, _)| s.output.as_str()).collect();
    graph.input.retain(|i| !inputs.contains(i.name()));
    graph.output.retain(|o| !outputs.contains(o.name()));
    graph.initializer.extend(fixed().map(|(s, tensor)| to_proto(s.input.as_str(), tensor)));
    // Their gradients have no part in the global norm.
    for (s, tensor) in fixed().filter(|(s, _)| s.role == Role::Shared) {
        let square = square_name(&s.name);
        if let Some(at) = graph.node.iter().position(|n| n.output.contains(&square)) {
            graph.node.remove(at);
            graph.initializer.push(to_proto(square, &Tensor::zeros(tensor.dtype(), &[])));
        }
    }
    prune(graph);
    Ok((model, live))
}

/// Drops nodes and initializers that no output needs. The graph has no subgraphs: spgraph wrote it.
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
