//! The graph: values, nodes, names; and the one way to make a graph of another.

mod arrays;
mod element;
mod graph;
mod node;
mod rebuild;
mod tensor;
mod types;
mod verify;

pub use element::{Element, TensorError};
pub use graph::{Elem, Graph, Readers, Value, ValueId};
pub use node::{Attr, Attrs, Domain, Node};
pub use rebuild::{Becomes, Rebuild, rebuild};
pub use tensor::Tensor;
pub use types::{DType, Dim, TensorType, product};
