//! Nodes and their attributes.

use super::{Attr, Attrs, Domain, Node, ValueId};

impl Node {
    /// A node of an operator of ONNX, not yet in a graph.
    pub fn new(name: impl Into<String>, op_type: impl Into<String>, inputs: Vec<Option<ValueId>>, attrs: Attrs) -> Node {
        Node { name: name.into(), op_type: op_type.into(), inputs, attrs, ..Node::default() }
    }

    /// Whether it is the operator of ONNX with that name.
    pub fn is(&self, op_type: &str) -> bool {
        self.is_of(Domain::Onnx, op_type)
    }

    /// Whether it is the operator of that domain with that name.
    pub fn is_of(&self, domain: Domain, op_type: &str) -> bool {
        self.domain == domain && self.op_type == op_type
    }

    /// Input `i`, where it is there.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// The first output.
    pub fn output(&self) -> Option<ValueId> {
        self.outputs.first().copied()
    }

    /// The integer attribute `name`, or `default`.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        match self.attrs.get(name) {
            Some(Attr::Int(v)) => *v,
            _ => default,
        }
    }

    /// The float attribute `name`, or `default`.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        match self.attrs.get(name) {
            Some(Attr::Float(v)) => *v,
            _ => default,
        }
    }

    /// The integers under `name`; empty where there are none.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.attrs.get(name) {
            Some(Attr::Ints(v)) => v,
            _ => &[],
        }
    }

    /// The text under `name`; empty where there is none.
    pub fn string(&self, name: &str) -> &str {
        match self.attrs.get(name) {
            Some(Attr::String(v)) => v,
            _ => "",
        }
    }

    /// The inputs that are there.
    pub fn used(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.inputs.iter().flatten().copied()
    }
}
