//! Outputs that are left out: before them stands what spgraph does not know, and the rest of the network does not need it. What decides between
//! classes (a label, the likeliest ones, a table of names) often stands so, and the scores that it reads need not be an output of the file themselves.

use super::refusals::Unknown;
use crate::error::Refusal;
use crate::ir::{DType, Graph, ValueId};
use crate::onnx::part::{needs, read_by};
use crate::onnx::{is_standard, pb};
use crate::ops::table;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// An output of the model that is no part of its graph.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Its name.
    pub output: String,
    /// The first node before it that is refused.
    pub refusal: Refusal,
    /// The values of the file that it is computed from.
    needs: Arc<HashSet<String>>,
    /// Those of them by which it only decides.
    decided: Arc<HashSet<String>>,
}

impl LeftOut {
    /// Whether it is computed from the value of that name.
    pub fn depends_on(&self, name: &str) -> bool {
        self.needs.contains(name)
    }

    /// Whether nothing with weights, and nothing that may compute scores in a way of its own, stands between the value of that name and it.
    pub fn decides_by(&self, name: &str) -> bool {
        self.decided.contains(name)
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

/// Operators that pick among the scores in their first input, or name them. Whatever else is not known may compute scores itself.
const PICKING: [&str; 2] = ["TopK", "ZipMap"];

/// Further operators that have no weights of their own.
const DECIDING: [&str; 4] = ["ArrayFeatureExtractor", "If", "LabelEncoder", "NonMaxSuppression"];

/// What is left of a model without the nodes that are not known, of which `values` of `graph` could be read; `None` where nothing is. With `inner`, scores
/// that are read by what picks among them are outputs, too.
pub(super) fn part(
    proto: &pb::GraphProto,
    unknown: &[Unknown],
    (graph, values): (&Graph, &HashMap<String, ValueId>),
    inner: bool,
) -> Option<Part> {
    if unknown.is_empty() {
        return None;
    }
    let weights = weights(proto);
    let (mut outputs, mut left_out) = (vec![], vec![]);
    for output in &proto.output {
        let needs = needs(proto, [output.name()]);
        let first = unknown.iter().filter(|u| needs.nodes.contains(&u.index)).min_by_key(|u| u.index);
        match first {
            None => outputs.push(output.name().to_string()),
            Some(unknown) => left_out.push(LeftOut {
                output: output.name().to_string(),
                refusal: unknown.refusal.clone(),
                needs: Arc::new(needs.values),
                decided: Arc::new(decided_by(proto, output.name(), &weights)),
            }),
        }
    }
    for node in unknown.iter().filter_map(|u| proto.node.get(u.index)).filter(|n| inner && PICKING.contains(&n.op_type())) {
        let given = |name: &String| outputs.contains(name) || proto.input.iter().any(|i| i.name() == name);
        let Some(scores) = node.input.first().filter(|name| !given(name)) else { continue };
        let read = values.get(scores).is_some_and(|&v| graph.value(v).varies && graph.ty(v).dtype.is_float() && graph.ty(v).rank() > 1);
        if read && is_last(proto, node, &weights) {
            outputs.push(scores.clone());
        }
    }
    let nodes = needs(proto, outputs.iter().map(String::as_str)).nodes;
    (!outputs.is_empty()).then_some(Part { outputs, nodes, left_out })
}

/// Whether a tensor may be a layer's weights. Whole numbers are indices, axes and names of classes.
fn is_weight(tensor: &pb::TensorProto) -> bool {
    let whole = matches!(DType::from_onnx(tensor.data_type()), Some(DType::I64 | DType::I32 | DType::Bool));
    !whole && tensor.data_type() != pb::tensor_proto::DataType::String as i32 && tensor.dims.iter().any(|&d| d > 1)
}

/// Whether a node holds such numbers itself, or a graph inside it does.
fn holds_weights(node: &pb::NodeProto) -> bool {
    let inside = |g: &pb::GraphProto| g.initializer.iter().any(is_weight) || g.node.iter().any(|n| !is_plain(n));
    node.attribute
        .iter()
        .any(|a| a.t.iter().chain(&a.tensors).any(is_weight) || a.floats.len() > 1 || a.g.iter().chain(&a.graphs).any(inside))
}

/// Whether the node computes nothing but what its operator says, without weights of its own.
fn is_plain(node: &pb::NodeProto) -> bool {
    let op = node.op_type();
    let known = is_standard(node.domain()) && table::find(op).is_some();
    (known || PICKING.contains(&op) || DECIDING.contains(&op)) && !holds_weights(node)
}

/// The names of the graph's constants that may be weights.
fn weights(proto: &pb::GraphProto) -> HashSet<&str> {
    let stored = proto.initializer.iter().filter(|t| is_weight(t)).map(|t| t.name());
    let constants = proto.node.iter().filter(|n| n.op_type() == "Constant" && holds_weights(n));
    stored.chain(constants.flat_map(|n| n.output.iter().map(String::as_str))).collect()
}

/// The values from which an output follows by plain nodes that read no weights.
fn decided_by(proto: &pb::GraphProto, output: &str, weights: &HashSet<&str>) -> HashSet<String> {
    let made: HashMap<&str, &pb::NodeProto> = proto.node.iter().flat_map(|n| n.output.iter().map(move |o| (o.as_str(), n))).collect();
    let (mut found, mut open) = (HashSet::new(), vec![output]);
    while let Some(name) = open.pop() {
        if !found.insert(name.to_string()) {
            continue;
        }
        let node = made.get(name).filter(|n| is_plain(n) && !read_by(n).any(|read| weights.contains(read)));
        open.extend(node.into_iter().flat_map(|n| read_by(n)));
    }
    found
}

/// Whether behind the node stands nothing but plain nodes that read it and constants: no layer, and nothing else that was seen in the images.
fn is_last(proto: &pb::GraphProto, node: &pb::NodeProto, weights: &HashSet<&str>) -> bool {
    let mut fixed: HashSet<&str> = proto.initializer.iter().map(|t| t.name()).collect();
    let mut behind: HashSet<&str> = made_by(node).collect();
    // Nodes come after what they need.
    for next in &proto.node {
        if read_by(next).any(|name| behind.contains(name)) {
            let known = |name: &str| behind.contains(name) || (fixed.contains(name) && !weights.contains(name));
            if !is_plain(next) || !read_by(next).all(known) {
                return false;
            }
            behind.extend(made_by(next));
        } else if read_by(next).all(|name| fixed.contains(name)) {
            fixed.extend(made_by(next));
        }
    }
    true
}

fn made_by(node: &pb::NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|o| !o.is_empty())
}
