//! Merges nodes that compute the same, for tract.
//!
//! tract merges such nodes itself, but its pass (`PushSplitDown` in 0.23) loses both of two equal nodes with two inputs when the
//! inputs list the nodes in different orders: running the model then ends in "eval() called on a Dummy op". Where there are no equal
//! nodes to begin with it has nothing to lose.

use crate::onnx::pb;
use prost::Message;
use std::collections::{HashMap, HashSet};

/// Initializers up to this many bytes are compared: axes, shapes and single numbers.
const SMALL: usize = 256;

/// Lets every value be computed once: readers of an equal node, of an equal small initializer and of an `Identity` read the first.
/// Graph outputs keep their nodes. A graph with subgraphs is left alone.
pub fn merge_equal_nodes(graph: &mut pb::GraphProto) {
    if graph.node.iter().any(|n| n.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty())) {
        return;
    }
    let outputs: HashSet<String> = graph.output.iter().map(|o| o.name().to_string()).collect();
    let inputs: HashSet<String> = graph.input.iter().map(|i| i.name().to_string()).collect();
    let mut known: HashMap<String, String> = HashMap::new();
    let mut tensors: HashMap<Vec<u8>, String> = HashMap::new();
    for tensor in &graph.initializer {
        let fixed = !inputs.contains(tensor.name()) && !outputs.contains(tensor.name());
        if fixed && tensor.encoded_len() <= SMALL {
            let content = pb::TensorProto { name: None, ..tensor.clone() }.encode_to_vec();
            let first = tensors.entry(content).or_insert_with(|| tensor.name().to_string());
            if first != tensor.name() {
                known.insert(tensor.name().to_string(), first.clone());
            }
        }
    }
    let mut nodes: HashMap<Vec<u8>, Vec<String>> = HashMap::new();
    graph.node.retain_mut(|node| {
        for input in &mut node.input {
            if let Some(first) = known.get(input.as_str()) {
                *input = first.clone();
            }
        }
        if node.output.iter().any(|o| outputs.contains(o)) {
            return true;
        }
        if let ("Identity", "", [input], [output]) = (node.op_type(), node.domain(), &node.input[..], &node.output[..]) {
            known.insert(output.clone(), input.clone());
            return false;
        }
        // Optional outputs that are left out tell equal nodes apart.
        let shape = node.output.iter().map(|o| if o.is_empty() { String::new() } else { "y".into() }).collect();
        let key = pb::NodeProto { name: None, doc_string: None, output: shape, ..node.clone() }.encode_to_vec();
        let Some(first) = nodes.get(&key) else {
            nodes.insert(key, node.output.clone());
            return true;
        };
        known.extend(node.output.iter().cloned().zip(first.iter().cloned()).filter(|(own, _)| !own.is_empty()));
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
        pb::NodeProto {
            op_type: Some(op.into()),
            name: Some(format!("node of {output}")),
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn merged(nodes: Vec<pb::NodeProto>, outputs: &[&str]) -> Vec<(String, Vec<String>, String)> {
        let output = outputs.iter().map(|o| pb::ValueInfoProto { name: Some(o.to_string()), ..Default::default() }).collect();
        let mut graph = pb::GraphProto { node: nodes, output, ..Default::default() };
        merge_equal_nodes(&mut graph);
        graph.node.into_iter().map(|n| (n.op_type().to_string(), n.input.clone(), n.output.concat())).collect()
    }

    #[test]
    fn equal_nodes_become_one_through_copies() {
        let nodes = vec![
            node("Identity", &["g"], "h"),
            node("Mul", &["g", "f"], "a"),
            node("Mul", &["h", "f"], "b"),
            node("Mul", &["f", "g"], "c"),
            node("Add", &["a", "b"], "d"),
            node("Sub", &["d", "c"], "e"),
        ];
        let left = merged(nodes, &["e"]);
        let inputs: Vec<String> = left.iter().map(|(op, i, _)| format!("{op}({})", i.join(","))).collect();
        assert_eq!(inputs, ["Mul(g,f)", "Mul(f,g)", "Add(a,a)", "Sub(d,c)"]);
    }

    #[test]
    fn outputs_keep_their_nodes() {
        let nodes = vec![node("Neg", &["x"], "a"), node("Neg", &["x"], "b"), node("Identity", &["x"], "c")];
        assert_eq!(merged(nodes.clone(), &["a", "b", "c"]).len(), nodes.len());
    }
}
