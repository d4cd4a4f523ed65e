//! Outputs that are left out: before them stands what spgraph does not know, and the rest of the network does not need it. What decides between
//! classes (a label, the likeliest ones, a table of names) often stands so, and the scores that it reads need not be an output of the file themselves.

use crate::error::Refusal;
use crate::ir::DType;
use crate::onnx::part::{Makers, read_by};
use crate::onnx::{is_standard, pb};
use crate::ops::table;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A node that cannot be read, whatever else the graph has.
pub(super) struct Unknown {
    /// Its place in the file.
    pub index: usize,
    pub refusal: Refusal,
}

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
pub(super) struct Part<'a> {
    makers: Makers<'a>,
    /// The file's outputs that are outputs of the graph.
    own: Vec<&'a str>,
    /// What something picks among, and is no output of the file: outputs of the graph, where they are scores.
    picked: Vec<&'a str>,
    pub left_out: Vec<LeftOut>,
}

impl<'a> Part<'a> {
    /// The values that become outputs of the graph: the file's, and behind them scores that are no output of the file.
    pub fn outputs(&self) -> impl Iterator<Item = &'a str> {
        self.own.iter().chain(&self.picked).copied()
    }

    /// Those of them that are no output of the file.
    pub fn scores(&self) -> impl Iterator<Item = &'a str> {
        self.picked.iter().copied()
    }

    /// The places of the nodes that the outputs need.
    pub fn nodes(&self) -> HashSet<usize> {
        self.makers.needs(self.outputs()).nodes
    }

    /// Whether it has no outputs.
    pub fn is_empty(&self) -> bool {
        self.outputs().next().is_none()
    }

    /// Gives up what is picked among and no scores. Whether that was any.
    pub fn give_up(&mut self, is_scores: impl Fn(&str) -> bool) -> bool {
        let before = self.picked.len();
        self.picked.retain(|name| is_scores(name));
        self.picked.len() < before
    }
}

/// Operators that pick among the scores in their first input, or name them. Whatever else is not known may compute scores itself.
const PICKING: [&str; 2] = ["TopK", "ZipMap"];

/// Further operators that have no weights of their own.
const DECIDING: [&str; 8] = [
    "ArrayFeatureExtractor",
    "If",
    "LabelEncoder",
    "NonMaxSuppression",
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
];

/// What is left of a model without the nodes that are not known; `None` where nothing is. What those read that pick among scores is an output, too, where
/// `types` says in which type the file computes it.
pub(super) fn part<'a>(proto: &'a pb::GraphProto, unknown: &[Unknown], types: &HashMap<String, DType>) -> Option<Part<'a>> {
    if unknown.is_empty() {
        return None;
    }
    let (makers, weights) = (Makers::new(proto), weights(proto));
    let (mut own, mut picked, mut left_out, mut before) = (vec![], vec![], vec![], HashSet::new());
    for output in &proto.output {
        let needs = makers.needs([output.name()]);
        let first = unknown.iter().filter(|u| needs.nodes.contains(&u.index)).min_by_key(|u| u.index);
        match first {
            None => own.push(output.name()),
            Some(unknown) => {
                left_out.push(LeftOut {
                    output: output.name().to_string(),
                    refusal: unknown.refusal.clone(),
                    needs: Arc::new(needs.values),
                    decided: Arc::new(decided_by(&makers, output.name(), &weights)),
                });
                before.extend(needs.nodes);
            }
        }
    }
    // What no output needs says nothing of scores.
    let needed = unknown.iter().filter(|u| before.contains(&u.index));
    for node in needed.filter_map(|u| proto.node.get(u.index)).filter(|n| PICKING.contains(&n.op_type())) {
        let given = |name: &str| own.contains(&name) || picked.contains(&name) || proto.input.iter().any(|i| i.name() == name);
        let Some(scores) = node.input.first().map(String::as_str).filter(|name| !given(name)) else { continue };
        if types.contains_key(scores) && is_last(proto, node, &weights) {
            picked.push(scores);
        }
    }
    let part = Part { makers, own, picked, left_out };
    (!part.is_empty()).then_some(part)
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
fn decided_by<'a>(makers: &Makers<'a>, output: &'a str, weights: &HashSet<&str>) -> HashSet<String> {
    makers.needs_through([output], |n| is_plain(n) && !read_by(n).any(|read| weights.contains(read))).values
}

/// The values of a file by which the output of that name only decides: nothing with weights stands between them and it.
pub fn decided(proto: &pb::GraphProto, output: &str) -> HashSet<String> {
    decided_by(&Makers::new(proto), output, &weights(proto))
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
