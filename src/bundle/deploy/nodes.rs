//! Nodes to be put into a model that exists.

use crate::ir::{DType, Tensor};
use crate::onnx::{pb, to_proto};
use std::collections::HashSet;

/// An attribute's value.
pub enum Attr<'a> {
    Int(i64),
    Ints(&'a [i64]),
}

/// Nodes and constants under names that the graph does not have.
pub struct Nodes {
    prefix: &'static str,
    taken: HashSet<String>,
    nodes: Vec<pb::NodeProto>,
    constants: Vec<pb::TensorProto>,
    /// Of ONNX's own domain.
    pub opset: i64,
}

impl Nodes {
    pub fn new(graph: &pb::GraphProto, prefix: &'static str, opset: i64) -> Nodes {
        let values = graph.node.iter().flat_map(|n| n.input.iter().chain(&n.output).cloned().chain([n.name().to_string()]));
        let ports = graph.input.iter().chain(&graph.output).map(|v| v.name().to_string());
        let taken = values.chain(ports).chain(graph.initializer.iter().map(|t| t.name().to_string())).collect();
        Nodes { prefix, taken, nodes: vec![], constants: vec![], opset }
    }

    /// A name like `wanted` that nothing has.
    pub fn name(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    pub fn constant(&mut self, tensor: &Tensor) -> String {
        let name = self.name(&format!("{}/constant.{}", self.prefix, self.constants.len()));
        self.constants.push(to_proto(&name, tensor));
        name
    }

    pub fn int(&mut self, value: i64) -> String {
        self.constant(&Tensor::from_i64(&[], &[value]))
    }

    pub fn double(&mut self, value: f64) -> String {
        self.constant(&Tensor::from_f64(&[], &[value]))
    }

    /// A node with one output; its name.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attr)]) -> String {
        let name = self.name(&format!("{}/{op}.{}", self.prefix, self.nodes.len()));
        self.node(op, inputs, &[&name], attributes);
        name
    }

    pub fn cast(&mut self, value: &str, to: DType) -> String {
        self.op("Cast", &[value], &[("to", Attr::Int(to.onnx().into()))])
    }

    /// A node whose outputs have names.
    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attr)]) {
        use pb::attribute_proto::AttributeType;
        let attribute = |(name, value): &(&str, Attr)| {
            let mut a = pb::AttributeProto { name: Some(name.to_string()), ..Default::default() };
            match value {
                Attr::Int(i) => (a.i, a.r#type) = (Some(*i), Some(AttributeType::Int as i32)),
                Attr::Ints(list) => (a.ints, a.r#type) = (list.to_vec(), Some(AttributeType::Ints as i32)),
            }
            a
        };
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        self.nodes.push(pb::NodeProto {
            name: Some(format!("{}/node.{}", self.prefix, self.nodes.len())),
            op_type: Some(op.into()),
            input: strings(inputs),
            output: strings(outputs),
            attribute: attributes.iter().map(attribute).collect(),
            ..Default::default()
        });
    }

    pub fn put_first(self, graph: &mut pb::GraphProto) {
        graph.initializer.extend(self.constants);
        graph.node.splice(0..0, self.nodes);
    }

    pub fn put_last(self, graph: &mut pb::GraphProto) {
        graph.initializer.extend(self.constants);
        graph.node.extend(self.nodes);
    }
}
