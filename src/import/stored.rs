//! The constants that a file holds, whatever import has made of them.

use super::names::node_name;
use super::ties::Split;
use crate::ir::{Dim, Graph, ValueId};
use crate::onnx::pb;
use std::collections::{HashMap, HashSet};

/// The constants that the file holds, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub names: HashSet<String>,
    /// Numbers that import has computed of one of them, with its name.
    pub computed: HashMap<String, String>,
    /// Those that import has turned into how a node works, with the node's name.
    pub settings: Vec<(String, String)>,
}

/// A file's constants, and the parameters that stood behind one of them.
pub(super) fn stored(proto: &pb::GraphProto, split: &[Split]) -> Stored {
    let constants = proto.node.iter().filter(|n| n.op_type() == "Constant").flat_map(|n| &n.output);
    let names =
        proto.initializer.iter().map(|t| t.name()).chain(constants.map(|o| o.as_str())).chain(split.iter().map(|s| s.name.as_str()));
    Stored { names: names.map(str::to_string).collect(), ..Stored::default() }
}

/// The floating-point constants that rules have turned into how a node works, which the graph has no use of: scales of a Resize. Each with its node.
pub(super) fn settings(proto: &pb::GraphProto, graph: &Graph, values: &HashMap<String, ValueId>, stored: &Stored) -> Vec<(String, String)> {
    let used: HashSet<ValueId> = graph.nodes.iter().flat_map(|n| n.used()).chain(graph.outputs.iter().copied()).collect();
    let elsewhere: HashSet<&str> = stored.computed.values().map(|s| s.as_str()).collect();
    let mut found = vec![];
    for (index, node) in proto.node.iter().enumerate() {
        // How much a Dropout drops is nothing of the network in inference.
        if matches!(node.op_type(), "Dropout" | "Identity") || !node.output.iter().any(|o| values.get(o).is_some_and(|v| used.contains(v)))
        {
            continue;
        }
        for name in node.input.iter().filter(|name| stored.names.contains(*name) && !elsewhere.contains(name.as_str())) {
            let Some(&v) = values.get(name).filter(|v| !used.contains(v)) else { continue };
            let own = graph.name_of(v) == name && graph.ty(v).dtype.is_float() && graph.ty(v).count() != Some(Dim::Known(0));
            if own && !found.iter().any(|(known, _)| known == name) {
                found.push((name.clone(), node_name(index, node)));
            }
        }
    }
    found
}
