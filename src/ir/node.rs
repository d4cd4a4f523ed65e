//! Nodes: one operator, or the call of a function, with its attributes.

use super::{Graph, Tensor, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An attribute in the form that spgraph computes with.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    Int(i64),
    Float(f32),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Tensor),
}

/// A node's attributes by name.
pub type Attrs = BTreeMap<String, Attr>;

/// Whose operator a node is. Operators of different domains may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Domain {
    /// An operator of ONNX, or of the table beside them.
    #[default]
    Onnx,
    /// A function of spgraph's: the node has a body of standard operators that says what it means.
    Function,
    /// Stands for the operator of ONNX with the same name, inputs, outputs and attributes, by a body of others: who has a better kernel
    /// for the operator can have that instead.
    Alternative,
    /// An operator of spgraph's native kernels.
    Native,
}

impl Domain {
    /// Every domain, in the order in which a model lists them.
    pub const ALL: [Domain; 4] = [Domain::Onnx, Domain::Function, Domain::Alternative, Domain::Native];

    /// The domain's name in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Domain::Onnx => "",
            Domain::Function => "ai.spgraph",
            Domain::Alternative => "ai.spgraph.forms",
            Domain::Native => "ai.spgraph.native",
        }
    }

    /// The domain that a file calls `name`; ONNX's own has two spellings.
    pub fn from_name(name: &str) -> Option<Domain> {
        if name == "ai.onnx" { Some(Domain::Onnx) } else { Domain::ALL.into_iter().find(|d| d.name() == name) }
    }
}

/// One operator, or the call of a function.
#[derive(Debug, Clone, Default)]
pub struct Node {
    pub name: String,
    pub domain: Domain,
    pub op_type: String,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<ValueId>,
    pub attrs: Attrs,
    /// What a function or an alternative means, in standard operators; its inputs and outputs are those of the node. Calls of one
    /// function may share it.
    pub body: Option<Arc<Graph>>,
}

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
