//! What of a training step is in half precision, and what stays float32.

use crate::bundle::Bundle;
use crate::emit;
use crate::error::Result;
use crate::ir::{Graph, Node, ValueId};
use crate::onnx;
use crate::pass::half_nodes;
use serde::Serialize;
use std::collections::BTreeMap;

/// In which precision the nodes of a step compute that read numbers and give some.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepPrecision {
    /// As the option of the rewriting.
    pub name: String,
    /// How many compute on half precision, by operator.
    pub half: BTreeMap<String, usize>,
    /// How many in float32.
    pub float32: BTreeMap<String, usize>,
    /// Conversions between the two.
    pub casts: usize,
}

/// Of a bundle of mixed precision.
pub(super) fn step_precision(bundle: &Bundle) -> Result<Option<StepPrecision>> {
    let asked = bundle.manifest.rewriting.as_ref().map(|r| r.options.precision).filter(|p| !p.is_float32());
    let Some(precision) = asked else { return Ok(None) };
    let graph = emit::read(&onnx::open(bundle.step())?, None)?;
    let mut found = StepPrecision { name: precision.name().into(), half: BTreeMap::new(), float32: BTreeMap::new(), casts: 0 };
    count(&graph, &mut found);
    Ok(Some(found))
}

fn count(graph: &Graph, found: &mut StepPrecision) {
    let has_half = |n: &Node| n.used().chain(n.outputs.iter().copied()).any(|v| graph.ty(v).dtype.is_half());
    for (node, half) in graph.nodes.iter().zip(half_nodes(graph)) {
        let is_float = |v: ValueId| graph.ty(v).dtype.is_float();
        if node.is("Cast") {
            found.casts = found.casts.saturating_add(usize::from(has_half(node)));
        } else if node.used().any(is_float) && node.outputs.iter().any(|&v| is_float(v)) {
            let operators = if half { &mut found.half } else { &mut found.float32 };
            let nodes = operators.entry(node.op_type.clone()).or_default();
            *nodes = nodes.saturating_add(1);
        }
    }
}
