//! The graph: values, nodes, names.

mod graph;
mod tensor;

pub use graph::{Attr, Attrs, Body, Elem, FORM_DOMAIN, FUNCTION_DOMAIN, Graph, Node, Value, ValueId};
pub use tensor::{DType, Dim, Tensor, TensorType, product};
