//! Names of nodes that no value has. ONNX keeps the two apart; runtimes that make nodes of inputs and initializers do not, and they call what they
//! add to a node by its name and a suffix (`conv1.bias`).

use super::pb;
use std::collections::HashSet;

/// Between a node's name and what a runtime adds to it.
const SEPARATORS: [char; 2] = ['.', '-'];

/// Gives other names to nodes that are called as an input or an initializer, or as the first part of another's name up to a dot or a dash.
pub fn tell_apart(graph: &mut pb::GraphProto) {
    let values: HashSet<String> =
        graph.input.iter().map(|i| i.name().to_string()).chain(graph.initializer.iter().map(|t| t.name().to_string())).collect();
    let mut taken: HashSet<String> = graph.node.iter().map(|n| n.name().to_string()).chain(values.iter().cloned()).collect();
    let firsts: HashSet<String> = taken.iter().flat_map(|name| first_parts(name)).map(str::to_string).collect();
    for node in &mut graph.node {
        let name = node.name();
        if name.is_empty() || !values.contains(name) && !firsts.contains(name) {
            continue;
        }
        let free = |name: &String| !taken.contains(name) && !firsts.contains(name);
        let numbered = (2..).map(|i| format!("{name}_node_{i}"));
        if let Some(own) = std::iter::once(format!("{name}_node")).chain(numbered).find(free) {
            taken.insert(own.clone());
            node.name = Some(own);
        }
    }
}

/// What lies before each separator of the last part of a path: whoever adds to a node adds no folder.
fn first_parts(name: &str) -> impl Iterator<Item = &str> {
    let last = name.rfind('/').map_or(0, |slash| slash.saturating_add(1));
    name.char_indices().filter(move |(at, c)| *at > last && SEPARATORS.contains(c)).filter_map(|(at, _)| name.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_told_from_values_and_from_what_others_add() {
        let node = |name: &str| pb::NodeProto { name: Some(name.into()), ..Default::default() };
        let tensor = |name: &str| pb::TensorProto { name: Some(name.into()), ..Default::default() };
        let mut graph = pb::GraphProto {
            node: ["conv1", "w", "bn", "bn-mean", "/a/Conv", "/a/Conv.grad/Mul", "conv1_node", ""].map(node).to_vec(),
            initializer: ["conv1.bias", "w", "layer.0.weight"].map(tensor).to_vec(),
            ..Default::default()
        };
        tell_apart(&mut graph);
        let names: Vec<&str> = graph.node.iter().map(|n| n.name()).collect();
        assert_eq!(names, ["conv1_node_2", "w_node", "bn_node", "bn-mean", "/a/Conv", "/a/Conv.grad/Mul", "conv1_node", ""]);
    }
}
