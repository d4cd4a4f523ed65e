//! Names of nodes: each its own, and none that a value has. ONNX keeps the two apart; runtimes that make nodes of inputs and initializers do not, and they call what they
//! add to a node by its name and a suffix (`conv1.bias`).

use super::pb;
use std::collections::{HashMap, HashSet};

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

/// Gives every further node of a name one of its own, by which messages and exports know it: runtimes accept such models.
pub fn name_once(graph: &mut pb::GraphProto) {
    let mut taken: HashSet<String> = graph.node.iter().map(|n| n.name().to_string()).collect();
    // How many nodes of a name there are so far, and those that were named anew.
    let mut seen: HashMap<String, u64> = HashMap::new();
    for node in graph.node.iter_mut().filter(|n| !n.name().is_empty()) {
        let count = seen.entry(node.name().to_string()).and_modify(|n| *n = n.saturating_add(1)).or_insert(1);
        while *count > 1 {
            let own = format!("{}_{count}", node.name());
            if taken.insert(own.clone()) {
                node.name = Some(own);
                break;
            }
            *count = count.saturating_add(1);
        }
    }
}

/// Gives names to the nodes without one where a number by which such a node would be known (`Reshape_5`, the sixth node) is another's name:
/// exporters number their nodes in the same way, and who puts nodes before theirs moves the numbers.
pub fn name_nameless(graph: &mut pb::GraphProto) {
    let numbered = |i: usize, node: &pb::NodeProto| format!("{}_{i}", node.op_type());
    let mut taken: HashSet<String> = graph.node.iter().map(|n| n.name().to_string()).filter(|name| !name.is_empty()).collect();
    if !graph.node.iter().enumerate().any(|(i, n)| n.name().is_empty() && taken.contains(&numbered(i, n))) {
        return;
    }
    for (i, node) in graph.node.iter_mut().enumerate().filter(|(_, n)| n.name().is_empty()) {
        let base = numbered(i, node);
        let others = (2..).map(|k| format!("{base}_{k}"));
        if let Some(own) = std::iter::once(base.clone()).chain(others).find(|name| !taken.contains(name)) {
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
    fn a_node_without_a_name_is_not_taken_for_one_that_has_its_number_as_name() {
        let node = |name: &str| pb::NodeProto { name: Some(name.into()), op_type: Some("Conv".into()), ..Default::default() };
        let named = |names: &[&str]| {
            let mut graph = pb::GraphProto { node: names.iter().map(|name| node(name)).collect(), ..Default::default() };
            name_nameless(&mut graph);
            graph.node.iter().map(|n| n.name().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(named(&["", "Conv_0", ""]), ["Conv_0_2", "Conv_0", "Conv_2"]);
        assert_eq!(named(&["", "Conv_1", ""]), ["", "Conv_1", ""], "nothing is alike");
    }

    #[test]
    fn further_nodes_of_a_name_get_others() {
        let node = |name: &str| pb::NodeProto { name: Some(name.into()), ..Default::default() };
        let mut graph = pb::GraphProto { node: ["a", "a", "", "a_2", "a", "", "b"].map(node).to_vec(), ..Default::default() };
        name_once(&mut graph);
        assert_eq!(graph.node.iter().map(|n| n.name()).collect::<Vec<_>>(), ["a", "a_3", "", "a_2", "a_4", "", "b"]);
    }

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
