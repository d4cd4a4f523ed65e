//! Branches whose condition is known before the network runs: the nodes of the one that is taken stand in the place of the `If`. PyTorch's older exporter
//! writes one where it squeezes an axis of a network for any batch: whether that axis has length 1 follows from shapes.

use super::importer::Importer;
use super::names::node_name;
use super::place::Place;
use crate::ir::DType;
use crate::onnx::{is_standard, pb};
use std::collections::HashSet;

/// Whether the node is an `If`.
pub(super) fn has_branches(node: &pb::NodeProto) -> bool {
    node.op_type() == "If" && is_standard(node.domain())
}

/// Whether a node holds several floating-point numbers, or makes half precision: neither is looked for in branches.
fn holds_numbers(node: &pb::NodeProto) -> bool {
    let half = |code: i32| DType::from_onnx(code).is_some_and(|d| d.is_half());
    let several = |t: &pb::TensorProto| DType::from_onnx(t.data_type()).is_some_and(|d| d.is_float()) && t.dims.iter().any(|&d| d != 1);
    let converts = |a: &pb::AttributeProto| a.name() == "to" && i32::try_from(a.i()).is_ok_and(half);
    node.attribute
        .iter()
        .any(|a| a.t.as_ref().is_some_and(|t| several(t) || half(t.data_type())) || a.floats.len() > 1 || a.g.is_some() || converts(a))
}

impl Importer {
    /// The branch that the node takes, where it is an `If` of which that can be known and which holds no numbers of its own that could be trained, and
    /// none in half precision.
    pub(super) fn branch<'a>(&self, node: &'a pb::NodeProto) -> Option<&'a pb::GraphProto> {
        if !has_branches(node) {
            return None;
        }
        let condition = self.values.get(node.input.first()?).map(|&v| self.graph.value(v))?;
        let taken = condition.constant.as_ref().filter(|t| t.count() == 1 && t.dtype() == DType::Bool)?.bytes().first().copied()? != 0;
        let name = if taken { "then_branch" } else { "else_branch" };
        let branch = node.attribute.iter().find(|a| a.name() == name)?.g.as_ref()?;
        let empty = branch.initializer.is_empty() && branch.sparse_initializer.is_empty() && branch.input.is_empty();
        let plain = empty && !branch.node.iter().any(holds_numbers);
        (plain && branch.output.len() == node.output.len()).then_some(branch)
    }

    /// Imports the nodes of the branch that the node at `index` takes, under its name, and gives its results the names that the node has for them.
    pub(super) fn inline(&mut self, index: usize, node: &pb::NodeProto, branch: &pb::GraphProto) {
        self.refusals.at = Place::from(index);
        let inside = || branch.node.iter().flat_map(|n| &n.output).filter(|o| !o.is_empty());
        let mut own = HashSet::new();
        // Names that come later around it may stand in a branch; those that it could read may not.
        let defined = |name: &String| self.values.contains_key(name) || self.sequences.contains_key(name);
        if let Some(name) = inside().find(|name| defined(name) || !own.insert(name.as_str())) {
            let why = format!("the branch that it takes defines `{name}` a second time: the model is not valid, export it again");
            return self.refusals.refuse(node, why);
        }
        let name = node_name(index, node);
        for (inner, of_branch) in branch.node.iter().enumerate() {
            let name = format!("{name}/{}", node_name(inner, of_branch));
            let at = Place { node: index, inner: inner.saturating_add(1) };
            self.node_at(at, &pb::NodeProto { name: Some(name), ..of_branch.clone() });
        }
        let known = |name: &str| (self.values.get(name).copied(), self.sequences.get(name).cloned());
        let results: Vec<_> = branch.output.iter().map(|given| known(given.name())).collect();
        // What a branch calls something is known in it alone.
        for name in inside() {
            self.values.remove(name);
            self.sequences.remove(name);
        }
        for ((given, named), (value, list)) in
            branch.output.iter().zip(&node.output).zip(results).filter(|((_, named), _)| !named.is_empty())
        {
            if value.is_none() && list.is_none() && !self.refusals.skips(given.name()) {
                self.refusals.refuse(node, format!("the result `{}` of the branch that it takes is computed nowhere", given.name()));
            }
            self.values.extend(value.map(|v| (named.clone(), v)));
            self.sequences.extend(list.map(|list| (named.clone(), list)));
            self.refusals.skip_with(given.name(), named);
        }
    }
}
