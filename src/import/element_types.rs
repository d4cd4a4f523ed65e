//! Element types as the model has them, before half precision is widened: what an operator wants of one type must be of one, and an output must be of
//! the type that it is declared with. Runtimes refuse everything else, and widening would hide it.

use super::refusals::Refusals;
use crate::error::{Error, Result};
use crate::ir::DType;
use crate::onnx::schema::{Found, Schema, find};
use crate::onnx::{is_standard, pb, standard_opsets};
use std::collections::{HashMap, HashSet};

/// The element types of a graph's values, as far as its operators' signatures say them. Fails where half precision meets another type, and where a result
/// is declared with another type than its node computes.
pub(super) fn checked(graph: &pb::GraphProto, opset: i64) -> Result<HashMap<String, DType>> {
    let (known, refusals) = propagated(graph, opset);
    if !refusals.list.is_empty() {
        return Err(Error::Unsupported(refusals.list));
    }
    let name = |code: i32| DType::from_onnx(code).map_or_else(|| format!("type {code}"), |d| d.to_string());
    // What is noted of an initializer beside its own type is not looked at by anyone.
    let stored: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    for port in graph.output.iter().chain(&graph.value_info).filter(|port| !stored.contains(port.name())) {
        let (Some(code), Some(computed)) = (declared(port), known.get(port.name())) else { continue };
        if code != 0 && code != computed.onnx() {
            return Err(Error::model(format!(
                "the value `{}` is declared as {}, and what is computed for it is {computed}; runtimes refuse such a model. Export the network again",
                port.name(),
                name(code)
            )));
        }
    }
    Ok(owned(known))
}

/// The element types of a model's values, as far as its operators' signatures say them.
pub fn value_types(model: &pb::ModelProto) -> HashMap<String, DType> {
    let opset = standard_opsets(model).next();
    model.graph.as_ref().zip(opset).map_or_else(HashMap::new, |(graph, opset)| owned(propagated(graph, opset).0))
}

fn owned(types: HashMap<&str, DType>) -> HashMap<String, DType> {
    types.into_iter().map(|(name, dtype)| (name.to_string(), dtype)).collect()
}

/// The element types, with the nodes where half precision meets another type.
fn propagated(graph: &pb::GraphProto, opset: i64) -> (HashMap<&str, DType>, Refusals) {
    let mut known: HashMap<&str, DType> = HashMap::new();
    known.extend(graph.input.iter().filter_map(|port| Some((port.name(), DType::from_onnx(declared(port)?)?))));
    known.extend(graph.initializer.iter().filter_map(|tensor| Some((tensor.name(), DType::from_onnx(tensor.data_type())?))));
    let mut refusals = Refusals::default();
    for node in graph.node.iter().filter(|n| is_standard(n.domain())) {
        let Found::Here(schema) = find(node.op_type(), opset) else { continue };
        match bound(node, &schema, &known) {
            Ok(variables) => known.extend(results(node, &schema, &variables)),
            Err(reason) => refusals.refuse(node, reason),
        }
    }
    (known, refusals)
}

fn declared(port: &pb::ValueInfoProto) -> Option<i32> {
    match port.r#type.as_ref()?.value.as_ref()? {
        pb::type_proto::Value::TensorType(tensor) => Some(tensor.elem_type()),
        _ => None,
    }
}

/// What the variables of the operator's signature stand for. Fails where half precision is among what does not fit.
fn bound(node: &pb::NodeProto, schema: &Schema, known: &HashMap<&str, DType>) -> Result<HashMap<&'static str, DType>, String> {
    let mut variables: HashMap<&str, (usize, DType)> = HashMap::new();
    for (i, input) in node.input.iter().enumerate() {
        let (Some(formal), Some(&dtype)) = (schema.inputs.get(i).or(schema.inputs.last()), known.get(input.as_str())) else { continue };
        if let Some(variable) = formal.variable {
            let (first, other) = *variables.entry(variable).or_insert((i, dtype));
            if other != dtype && (other.is_half() || dtype.is_half()) {
                return Err(format!("its input {i} is {dtype} and its input {first} {other}; they must be of one type"));
            }
        }
    }
    Ok(variables.into_iter().map(|(variable, (_, dtype))| (variable, dtype)).collect())
}

/// The types of the node's results, as far as its signature says them.
fn results<'a>(node: &'a pb::NodeProto, schema: &Schema, variables: &HashMap<&'static str, DType>) -> Vec<(&'a str, DType)> {
    let own = attribute_type(node);
    let of = |i: usize| {
        let formal = schema.outputs.get(i).or(schema.outputs.last())?;
        match (formal.variable, formal.types.as_deref()) {
            (Some(variable), _) if variables.contains_key(variable) => variables.get(variable).copied(),
            (_, Some(&[one])) => Some(one),
            _ => own,
        }
    };
    node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()).filter_map(|(i, name)| Some((name.as_str(), of(i)?))).collect()
}

/// The type that an attribute says, of operators whose result has one that is not an input's.
fn attribute_type(node: &pb::NodeProto) -> Option<DType> {
    let attribute = |name: &str| node.attribute.iter().find(|a| a.name() == name);
    let named = |name: &str| DType::from_onnx(i32::try_from(attribute(name)?.i()).ok()?);
    let value = |name: &str| attribute(name)?.t.as_ref().and_then(|t| DType::from_onnx(t.data_type()));
    match node.op_type() {
        "Cast" => named("to"),
        "ConstantOfShape" => attribute("value").map_or(Some(DType::F32), |_| value("value")),
        "Constant" => value("value")
            .or_else(|| attribute("value_float").or(attribute("value_floats")).map(|_| DType::F32))
            .or_else(|| attribute("value_int").or(attribute("value_ints")).map(|_| DType::I64)),
        _ => None,
    }
}
