//! ONNX's own domain of operators, which files write in two ways.

use super::pb;
use crate::ir::Domain;

/// Whether `domain` is ONNX's own: `""` or `"ai.onnx"`.
pub fn is_standard(domain: &str) -> bool {
    Domain::from_name(domain) == Some(Domain::Onnx)
}

/// The versions of ONNX's own operators that a model says it uses. A valid model has one.
pub fn standard_opsets(model: &pb::ModelProto) -> impl Iterator<Item = i64> {
    model.opset_import.iter().filter(|o| is_standard(o.domain())).map(pb::OperatorSetIdProto::version)
}

/// The node's operator, with its domain where that is not ONNX's own.
pub fn qualified_op(node: &pb::NodeProto) -> String {
    match is_standard(node.domain()) {
        true => node.op_type().to_string(),
        false => format!("{}.{}", node.domain(), node.op_type()),
    }
}
