//! The graph: values, nodes, names.

mod arrays;
mod element;
mod graph;
mod tensor;
mod types;

pub use element::{Element, TensorError};
pub use graph::{Attr, Attrs, Body, Elem, FORM_DOMAIN, FUNCTION_DOMAIN, Graph, Node, Value, ValueId};
pub use tensor::Tensor;
pub use types::{DType, Dim, TensorType, product};
