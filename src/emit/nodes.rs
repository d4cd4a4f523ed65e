//! Nodes and values as ONNX writes them.

use crate::ir::{Attr, Domain, Graph, Node, Tensor, TensorType, ValueId};
use crate::onnx::declaration::{declaration, size, symbol};
use crate::onnx::{attributes as a, pb, to_proto};
use crate::operator::OPSET;
use std::collections::BTreeSet;

/// The operator sets that nodes of these domains need, ONNX's own among them.
pub(super) fn opsets(called: impl Iterator<Item = Domain>) -> Vec<pb::OperatorSetIdProto> {
    let mut domains: BTreeSet<Domain> = called.collect();
    domains.insert(Domain::Onnx);
    let version = |domain| if domain == Domain::Onnx { OPSET } else { 1 };
    domains.into_iter().map(|d| pb::OperatorSetIdProto { domain: Some(d.name().into()), version: Some(version(d)) }).collect()
}

/// A declaration of a graph input or output.
pub fn value_info(name: &str, ty: &TensorType) -> pb::ValueInfoProto {
    declaration(name, ty.dtype, ty.shape.iter().map(|d| d.known().map_or_else(|| symbol(d.to_string()), |n| size(Some(n)))))
}

fn attribute(name: &str, value: &Attr) -> pb::AttributeProto {
    match value {
        Attr::Int(v) => a::attr_int(name, *v),
        Attr::Float(v) => a::attr_float(name, *v),
        Attr::String(v) => a::attr_string(name, v.as_str()),
        Attr::Ints(v) => a::attr_ints(name, v.clone()),
        Attr::Floats(v) => a::attr_floats(name, v.clone()),
        Attr::Tensor(t) => a::attr_tensor(name, to_proto("", t)),
    }
}

/// The node without its body.
pub(super) fn node(graph: &Graph, node: &Node) -> pb::NodeProto {
    let name_of = |v: ValueId| graph.name_of(v).to_string();
    pb::NodeProto {
        name: Some(node.name.clone()),
        op_type: Some(node.op_type.clone()),
        domain: (node.domain != Domain::Onnx).then(|| node.domain.name().into()),
        input: node.inputs.iter().map(|i| i.map(name_of).unwrap_or_default()).collect(),
        output: node.outputs.iter().map(|&o| name_of(o)).collect(),
        attribute: node.attrs.iter().map(|(k, v)| attribute(k, v)).collect(),
        ..Default::default()
    }
}

/// The operator that holds a constant where there are no initializers.
const CONSTANT: &str = "Constant";

pub(super) fn constant(name: String, output: String, tensor: &Tensor) -> pb::NodeProto {
    pb::NodeProto {
        name: Some(name),
        op_type: Some(CONSTANT.into()),
        output: vec![output],
        attribute: vec![a::attr_tensor("value", to_proto("", tensor))],
        ..Default::default()
    }
}

/// How many nodes at the beginning of a function are its constants.
pub(super) fn constants_of(function: &pb::FunctionProto) -> usize {
    function.node.iter().take_while(|n| n.op_type() == CONSTANT && n.domain().is_empty()).count()
}
