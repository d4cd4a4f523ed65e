//! Parts of a graph: what some of its values are computed from.

use super::order::outer_names;
use super::pb;
use crate::ir::DType;
use std::collections::{HashMap, HashSet};

/// What a value is computed from.
#[derive(Debug, Default)]
pub struct Needs {
    /// Nodes, by their places.
    pub nodes: HashSet<usize>,
    /// Names of values, its own among them.
    pub values: HashSet<String>,
}

/// What a node reads, in the graphs inside it too.
pub fn read_by(node: &pb::NodeProto) -> impl Iterator<Item = &str> {
    let captured = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)).flat_map(outer_names);
    node.input.iter().map(String::as_str).chain(captured).filter(|name| !name.is_empty())
}

/// Which node of a graph computes which value.
pub struct Makers<'a> {
    graph: &'a pb::GraphProto,
    made: HashMap<&'a str, usize>,
}

impl<'a> Makers<'a> {
    /// Of the nodes of `graph`.
    pub fn new(graph: &'a pb::GraphProto) -> Self {
        let made = graph.node.iter().enumerate().flat_map(|(i, n)| n.output.iter().map(move |o| (o.as_str(), i))).collect();
        Makers { graph, made }
    }

    /// What the values of these names are computed from.
    pub fn needs(&self, names: impl IntoIterator<Item = &'a str>) -> Needs {
        self.needs_through(names, |_| true)
    }

    /// What the values of these names are computed from, no further back than through nodes that `through` lets pass.
    pub fn needs_through(&self, names: impl IntoIterator<Item = &'a str>, through: impl Fn(&pb::NodeProto) -> bool) -> Needs {
        let (mut found, mut open) = (Needs::default(), names.into_iter().collect::<Vec<_>>());
        while let Some(name) = open.pop() {
            if !found.values.insert(name.to_string()) {
                continue;
            }
            let Some((index, node)) = self.made.get(name).and_then(|&i| Some((i, self.graph.node.get(i)?))) else { continue };
            if through(node) && found.nodes.insert(index) {
                open.extend(read_by(node));
            }
        }
        found
    }
}

/// The model with these outputs alone, in that order, and without what none of them needs.
pub fn with_outputs(model: &pb::ModelProto, outputs: Vec<pb::ValueInfoProto>) -> pb::ModelProto {
    let mut model = model.clone();
    let Some(graph) = model.graph.as_mut() else { return model };
    graph.output = outputs;
    without_dead(graph);
    model
}

/// The model without outputs that hold no numbers (strings, tables of names); `None` where it has none of them.
pub fn with_tensors_alone(model: &pb::ModelProto) -> Option<pb::ModelProto> {
    let outputs = &model.graph.as_ref()?.output;
    let numbers = |port: &&pb::ValueInfoProto| match port.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(tensor)) => tensor.elem_type() == 0 || DType::from_onnx(tensor.elem_type()).is_some(),
        other => other.is_none(),
    };
    let kept: Vec<_> = outputs.iter().filter(numbers).cloned().collect();
    (kept.len() < outputs.len() && !kept.is_empty()).then(|| with_outputs(model, kept))
}

/// Takes away what no output needs. Inputs stay, but those that repeat an initializer.
pub fn without_dead(graph: &mut pb::GraphProto) {
    let Needs { nodes, values } = Makers::new(graph).needs(graph.output.iter().map(|o| o.name()));
    let mut index = 0usize;
    graph.node.retain(|_| {
        let kept = nodes.contains(&index);
        index = index.saturating_add(1);
        kept
    });
    let dead = |name: &str| !values.contains(name);
    let gone: HashSet<String> = graph.initializer.iter().map(|t| t.name()).filter(|n| dead(n)).map(str::to_string).collect();
    graph.initializer.retain(|t| !gone.contains(t.name()));
    graph.input.retain(|i| !gone.contains(i.name()));
    graph.value_info.retain(|i| !dead(i.name()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(inputs: &[&str], output: &str) -> pb::NodeProto {
        let input = inputs.iter().map(|i| i.to_string()).collect();
        pb::NodeProto { op_type: Some("Op".into()), input, output: vec![output.into()], ..Default::default() }
    }

    fn value(name: &str) -> pb::ValueInfoProto {
        pb::ValueInfoProto { name: Some(name.into()), ..Default::default() }
    }

    #[test]
    fn what_is_needed_is_kept() {
        let mut inside = node(&["c"], "label");
        let branch = pb::GraphProto { node: vec![node(&["deep"], "z")], output: vec![value("z")], ..Default::default() };
        inside.attribute = vec![pb::AttributeProto { g: Some(branch), ..Default::default() }];
        let tensor = |name: &str| pb::TensorProto { name: Some(name.into()), ..Default::default() };
        let graph = pb::GraphProto {
            node: vec![node(&["x", "w"], "y"), node(&["x"], "deep"), node(&["y", "", "names"], "c"), inside],
            input: ["x", "w", "names"].map(value).to_vec(),
            initializer: ["w", "names"].map(tensor).to_vec(),
            output: ["y", "label"].map(value).to_vec(),
            ..Default::default()
        };
        let found = Makers::new(&graph).needs(["label"]);
        let mut nodes: Vec<usize> = found.nodes.into_iter().collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 1, 2, 3], "what a graph inside a node reads is needed, too");
        assert!(found.values.contains("w") && found.values.contains("deep"));
        let model = pb::ModelProto { graph: Some(graph), ..Default::default() };
        let part = with_outputs(&model, vec![value("y"), value("deep")]).graph.unwrap();
        let names: Vec<&str> = part.node.iter().map(|n| n.output[0].as_str()).collect();
        assert_eq!(names, ["y", "deep"]);
        assert_eq!(part.input.iter().map(|i| i.name()).collect::<Vec<_>>(), ["x", "w"]);
        assert_eq!((part.initializer.len(), part.output.len()), (1, 2));
    }
}
