//! What of a file can be read, before any of it is: nodes whose operators are supported, and stored tensors that are numbers.

use super::refusals::{foreign, unknown};
use crate::ir::DType;
use crate::onnx::{self, pb};
use crate::operator::{Operator, Status};
use crate::ops::table;
use std::collections::HashMap;

/// What is known of a file's constants for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Readable {
    /// Initializers that are no numbers, by name, with what they are.
    no_numbers: HashMap<String, String>,
}

impl Readable {
    pub fn new(graph: &pb::GraphProto) -> Readable {
        let others = graph.initializer.iter().filter_map(|t| Some((t.name().to_string(), no_numbers(t)?)));
        Readable { no_numbers: others.collect() }
    }

    /// Whether the initializer holds numbers.
    pub fn is_number(&self, initializer: &pb::TensorProto) -> bool {
        !self.no_numbers.contains_key(initializer.name())
    }

    /// The operator of a node; the reason where it is none that can be read, whatever else the graph has.
    pub fn operator(&self, node: &pb::NodeProto) -> Result<&'static dyn Operator, String> {
        if !onnx::is_standard(node.domain()) {
            return Err(foreign(node).into());
        }
        let operator = table::find(node.op_type()).ok_or_else(|| unknown(node.op_type()))?;
        if let Status::Refused(reason) = operator.status() {
            return Err(reason.into());
        }
        if let Some((name, what)) = node.input.iter().find_map(|name| Some((name, self.no_numbers.get(name)?))) {
            return Err(format!("its input `{name}` holds {what}, which spgraph does not read"));
        }
        let value = node.attribute.iter().filter(|_| node.op_type() == "Constant");
        match value.filter_map(|a| a.t.as_ref().map_or_else(|| other_value(a), no_numbers)).next() {
            Some(what) => Err(format!("it holds {what}, which spgraph does not read")),
            None => Ok(operator),
        }
    }
}

/// What a stored tensor holds, where spgraph has no such numbers.
fn no_numbers(tensor: &pb::TensorProto) -> Option<String> {
    use pb::tensor_proto::DataType;
    match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Undefined) | Err(_) => None,
        Ok(_) if DType::from_onnx(tensor.data_type()).is_some() => None,
        Ok(DataType::String) => Some("strings".into()),
        Ok(other) => Some(format!("numbers of type {}", other.as_str_name().to_lowercase())),
    }
}

/// What a Constant holds without a tensor, where that is no numbers in order.
fn other_value(attribute: &pb::AttributeProto) -> Option<String> {
    match attribute.name() {
        "value_string" | "value_strings" => Some("strings".into()),
        "sparse_value" => Some("a sparse tensor (export the network with dense weights)".into()),
        _ => None,
    }
}
