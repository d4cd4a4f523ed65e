//! What tells nodes of one operator apart, and whose operator it is.

use super::Tensor;
use std::collections::BTreeMap;

/// An attribute in the form that spgraph computes with.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// An integer, or a boolean as 0 or 1.
    Int(i64),
    /// ONNX's attributes know no wider floating type.
    Float(f32),
    /// A name such as a padding mode.
    String(String),
    /// A list of integers: axes, strides, pads.
    Ints(Vec<i64>),
    /// A list of floats.
    Floats(Vec<f32>),
    /// A constant tensor.
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
