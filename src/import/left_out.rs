//! Outputs that are left out: before them stands what spgraph does not know, and the rest of the network does not need it. What decides between
//! classes (a label, the likeliest ones, a table of names) often stands so, and the scores that it reads need not be an output of the file themselves.

use super::refusals::Unknown;
use crate::error::Refusal;
use crate::ir::{DType, Graph, ValueId};
use crate::onnx::part::{needs, read_by};
use crate::onnx::pb;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// An output of the model that is no part of its graph.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Its name.
    pub output: String,
    /// The first node before it that is refused.
    pub refusal: Refusal,
    /// Whether it may be a classifier's, as far as the file declares it: numbers for each image.
    pub may_be_scores: bool,
    /// The values of the file that it is computed from.
    needs: Arc<HashSet<String>>,
}

impl LeftOut {
    /// Whether it is computed from the value of that name.
    pub fn depends_on(&self, name: &str) -> bool {
        self.needs.contains(name)
    }
}

/// The part of a model that can be read.
pub(super) struct Part {
    /// The values that become outputs of the graph: the file's, and behind them scores that are no output of the file.
    pub outputs: Vec<String>,
    /// The places of the nodes that they need.
    pub nodes: HashSet<usize>,
    pub left_out: Vec<LeftOut>,
}

/// Operators that decide between classes by the scores in their first input. Whatever else is not known may compute scores itself.
const DECIDING: [&str; 2] = ["TopK", "ZipMap"];

/// What is left of a model without the nodes that are not known, of which `values` of `graph` could be read; `None` where nothing is.
pub(super) fn part(proto: &pb::GraphProto, unknown: &[Unknown], graph: &Graph, values: &HashMap<String, ValueId>) -> Option<Part> {
    if unknown.is_empty() {
        return None;
    }
    let (mut outputs, mut left_out) = (vec![], vec![]);
    for output in &proto.output {
        let needs = needs(proto, [output.name()]);
        let first = unknown.iter().filter(|u| needs.nodes.contains(&u.index)).min_by_key(|u| u.index);
        match first {
            None => outputs.push(output.name().to_string()),
            Some(unknown) => left_out.push(LeftOut {
                output: output.name().to_string(),
                refusal: unknown.refusal.clone(),
                may_be_scores: may_be_scores(output),
                needs: Arc::new(needs.values),
            }),
        }
    }
    for node in unknown.iter().filter_map(|u| proto.node.get(u.index)).filter(|n| DECIDING.contains(&n.op_type())) {
        let Some(scores) = node.input.first().filter(|name| !outputs.contains(name)) else { continue };
        let read = values.get(scores).is_some_and(|&v| graph.value(v).varies && graph.ty(v).dtype.is_float() && graph.ty(v).rank() > 1);
        if read && decides(proto, node) {
            outputs.push(scores.clone());
        }
    }
    let nodes = needs(proto, outputs.iter().map(String::as_str)).nodes;
    (!outputs.is_empty()).then_some(Part { outputs, nodes, left_out })
}

/// Whether no layer stands behind the node.
fn decides(proto: &pb::GraphProto, node: &pb::NodeProto) -> bool {
    let floats = |t: &pb::TensorProto| DType::from_onnx(t.data_type()).is_some_and(|d| d.is_float()) && t.dims.iter().any(|&d| d > 1);
    let stored = proto.initializer.iter().filter(|t| floats(t)).map(|t| t.name());
    let constants = proto.node.iter().filter(|n| n.attribute.iter().any(|a| a.t.as_ref().is_some_and(floats)));
    let weights: HashSet<&str> = stored.chain(constants.flat_map(|n| n.output.iter().map(String::as_str))).collect();
    let mut behind: HashSet<&str> = node.output.iter().map(String::as_str).filter(|o| !o.is_empty()).collect();
    // Nodes come after what they need.
    for next in &proto.node {
        if read_by(next).any(|name| behind.contains(name)) {
            if read_by(next).any(|name| weights.contains(name)) {
                return false;
            }
            behind.extend(next.output.iter().map(String::as_str).filter(|o| !o.is_empty()));
        }
    }
    true
}

/// Whether an output is declared as a classifier's, or not declared in full: numbers for each image along one axis.
fn may_be_scores(output: &pb::ValueInfoProto) -> bool {
    use pb::tensor_shape_proto::dimension::Value;
    let tensor = match output.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(tensor)) => tensor,
        Some(_) => return false,
        None => return true,
    };
    let float = DType::from_onnx(tensor.elem_type()).is_some_and(|d| d.is_float());
    let single = |d: &&pb::tensor_shape_proto::Dimension| d.value == Some(Value::DimValue(1));
    let long = |shape: &pb::TensorShapeProto| shape.dim.iter().skip(1).filter(|d| !single(d)).count();
    float && tensor.shape.as_ref().is_none_or(|shape| shape.dim.is_empty() || (shape.dim.len() > 1 && long(shape) < 2))
}
