//! From a graph to an ONNX model, in one of two dialects.

use crate::ir::{Attr, Domain, Graph, Node, TensorType, ValueId};
use crate::onnx::{attributes as a, pb, to_proto};
use crate::operator::OPSET;
use prost::Message;
use std::collections::HashMap;

/// How functions appear in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As calls of model-local functions in the domain `ai.spgraph`: a viewer shows them by name, a native kernel can take their
    /// place. Needs a runtime that knows functions, as ONNX Runtime does.
    #[default]
    Functions,
    /// Written out in standard operators. An operator that has an alternative stays as it is.
    Inlined,
}

/// The IR version of emitted models: the first with model-local functions.
const IR_VERSION: i64 = 8;

/// Writes the part of `graph` that its outputs need. Graph inputs stay even where nothing reads them.
pub fn model(graph: &Graph, dialect: Dialect) -> pb::ModelProto {
    let mut functions = Functions::default();
    let live = graph.live_nodes();
    let mut nodes = vec![];
    let mut needed = vec![false; graph.values.len()];
    for &o in &graph.outputs {
        needed[o.index()] = true;
    }
    for (node, _) in graph.nodes.iter().zip(&live).filter(|(_, live)| **live) {
        for v in node.used() {
            needed[v.index()] = true;
        }
        match (&node.body, dialect) {
            (Some(body), Dialect::Functions) => {
                let mut call = plain(graph, node);
                call.op_type = Some(functions.name(node, body));
                call.domain = Some(node.domain.name().into());
                nodes.push(call);
            }
            (Some(_), Dialect::Inlined) if node.domain == Domain::Alternative => nodes.push(plain(graph, node)),
            (Some(body), Dialect::Inlined) => inline(graph, node, body, &mut nodes),
            (None, _) => nodes.push(plain(graph, node)),
        }
    }
    let initializer = graph
        .ids()
        .filter(|id| needed[id.index()])
        .filter_map(|id| graph.value(id).initializer().map(|t| to_proto(graph.name_of(id), t)))
        .collect();
    let mut opset_import = vec![opset("", OPSET)];
    let called = [Domain::Function, Domain::Alternative].into_iter().filter(|d| functions.list.iter().any(|f| f.domain() == d.name()));
    opset_import.extend(called.map(|domain| opset(domain.name(), 1)));
    pb::ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import,
        producer_name: Some("spgraph".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(pb::GraphProto {
            name: Some(graph.name.clone()),
            node: nodes,
            initializer,
            input: graph.inputs.iter().map(|&v| value_info(graph.name_of(v), graph.ty(v))).collect(),
            output: graph.outputs.iter().map(|&v| value_info(graph.name_of(v), graph.ty(v))).collect(),
            ..Default::default()
        }),
        functions: functions.list,
        ..Default::default()
    }
}

fn opset(domain: &str, version: i64) -> pb::OperatorSetIdProto {
    pb::OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

/// A declaration of a graph input or output.
pub fn value_info(name: &str, ty: &TensorType) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let dim = ty
        .shape
        .iter()
        .map(|d| Dimension {
            value: Some(d.known().map_or_else(|| Value::DimParam(d.to_string()), |n| Value::DimValue(n as i64))),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor { elem_type: Some(ty.dtype.onnx()), shape: Some(pb::TensorShapeProto { dim }) };
    pb::ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
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

fn proto(node: &Node, name: String, names: impl Fn(ValueId) -> String) -> pb::NodeProto {
    pb::NodeProto {
        name: Some(name),
        op_type: Some(node.op_type.clone()),
        input: node.inputs.iter().map(|i| i.map(&names).unwrap_or_default()).collect(),
        output: node.outputs.iter().map(|&o| names(o)).collect(),
        attribute: node.attrs.iter().map(|(k, v)| attribute(k, v)).collect(),
        ..Default::default()
    }
}

fn plain(graph: &Graph, node: &Node) -> pb::NodeProto {
    proto(node, node.name.clone(), |v| graph.name_of(v).to_string())
}

fn constant_node(name: String, output: String, tensor: &crate::ir::Tensor) -> pb::NodeProto {
    pb::NodeProto {
        name: Some(name),
        op_type: Some("Constant".into()),
        output: vec![output],
        attribute: vec![a::attr_tensor("value", to_proto("", tensor))],
        ..Default::default()
    }
}

/// Constants of a body that its live nodes read, and those nodes.
fn live_body(body: &Graph) -> (Vec<ValueId>, Vec<&Node>) {
    let live = body.live_nodes();
    let nodes: Vec<&Node> = body.nodes.iter().zip(live).filter(|(_, live)| *live).map(|(n, _)| n).collect();
    let constants =
        body.ids().filter(|&v| body.value(v).initializer().is_some() && nodes.iter().any(|n| n.used().any(|u| u == v))).collect();
    (constants, nodes)
}

/// Writes a call out: the body's nodes under the call's name.
fn inline(graph: &Graph, call: &Node, body: &Graph, out: &mut Vec<pb::NodeProto>) {
    let (constants, nodes) = live_body(body);
    let mut names: HashMap<ValueId, String> = HashMap::new();
    for (&inner, outer) in body.inputs.iter().zip(&call.inputs) {
        names.insert(inner, outer.map(|v| graph.name_of(v).to_string()).unwrap_or_default());
    }
    for (&inner, &outer) in body.outputs.iter().zip(&call.outputs) {
        names.insert(inner, graph.name_of(outer).to_string());
    }
    let name_of = |v: ValueId| names.get(&v).cloned().unwrap_or_else(|| format!("{}/{}", call.name, body.name_of(v)));
    for v in constants {
        let Some(tensor) = &body.value(v).constant else { continue };
        out.push(constant_node(format!("{}/{}", call.name, body.name_of(v)), name_of(v), tensor));
    }
    for node in nodes {
        out.push(proto(node, format!("{}/{}", call.name, node.name), name_of));
    }
}

/// The model-local functions so far. Calls with equal bodies and attribute names share one.
#[derive(Default)]
struct Functions {
    list: Vec<pb::FunctionProto>,
    by_content: HashMap<Vec<u8>, String>,
    count: HashMap<String, usize>,
}

impl Functions {
    /// The name under which `body` is, from now on, a function: the operator's own for the first body, then `…_2`, `…_3`.
    fn name(&mut self, call: &Node, body: &Graph) -> String {
        let mut function = function(call, body);
        let key = function.encode_to_vec();
        if let Some(name) = self.by_content.get(&key) {
            return name.clone();
        }
        let count = self.count.entry(call.op_type.clone()).or_insert(0);
        *count += 1;
        let name = if *count == 1 { call.op_type.clone() } else { format!("{}_{count}", call.op_type) };
        function.name = Some(name.clone());
        self.by_content.insert(key, name.clone());
        self.list.push(function);
        name
    }
}

fn function(call: &Node, body: &Graph) -> pb::FunctionProto {
    let (constants, nodes) = live_body(body);
    let name_of = |v: ValueId| body.name_of(v).to_string();
    let constants = constants.into_iter().filter_map(|v| {
        let tensor = body.value(v).constant.as_ref()?;
        Some(constant_node(format!("{}.value", name_of(v)), name_of(v), tensor))
    });
    pb::FunctionProto {
        domain: Some(call.domain.name().into()),
        input: body.inputs.iter().map(|&v| name_of(v)).collect(),
        output: body.outputs.iter().map(|&v| name_of(v)).collect(),
        attribute: call.attrs.keys().cloned().collect(),
        node: constants.chain(nodes.iter().map(|n| proto(n, n.name.clone(), name_of))).collect(),
        opset_import: vec![opset("", OPSET)],
        ..Default::default()
    }
}
