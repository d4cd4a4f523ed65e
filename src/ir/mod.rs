//! The graph: values, nodes, names; and the one way to make a graph of another.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod arrays;
mod attributes;
mod element;
mod graph;
mod node;
mod order;
mod per_value;
mod rebuild;
mod tensor;
mod types;
mod uses;
mod verify;

pub use attributes::{Attr, Attrs, Domain};
pub use element::{Element, TensorError};
pub use graph::{Elem, Graph, Node, Value, ValueId};
pub use order::OtherNodes;
pub use per_value::PerValue;
pub use rebuild::{Becomes, Rebuild, rebuild};
pub use tensor::Tensor;
pub use types::{DType, Dim, Layout, TensorType, product};
pub use uses::{Live, Readers};
