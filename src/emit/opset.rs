//! Models of another opset than the one that the rest of spgraph knows: from it when they are written, and back when they are read.
//!
//! What one opset calls the same operator as another may be said in other words: axes as an input, an attribute that is new. [`SAYINGS`] has each of these once,
//! for both directions; ONNX's own table of operators decides whether what comes out is one of that opset.

use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::onnx::schema::{Formal, Found, Number, find, same};
use crate::onnx::{attributes as a, pb, to_proto};
use crate::operator::OPSET;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// The opsets that graphs can be written in.
pub const OPSETS: RangeInclusive<i64> = 13..=23;

/// The first IR version that knows the opset.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8, // The first with model-local functions.
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

/// What changed between opsets for a node that means the same.
enum Saying {
    /// From this opset on the axes are the second input, before it an attribute.
    Axes(i64),
    /// Before this opset there was no such attribute: it was as if it had this value.
    Attribute(i64, &'static str, Value),
    /// From this opset on a node that leaves the sizes of the parts open says how many there are.
    Parts(i64),
    /// From this opset on other values come out of such a node.
    Otherwise(i64, fn(&pb::NodeProto) -> bool, &'static str),
}

enum Value {
    Int(i64),
    Text(&'static str),
}

/// What is said otherwise in some opset of [`OPSETS`].
const SAYINGS: &[(&str, Saying)] = &[
    ("ReduceL1", Saying::Axes(18)),
    ("ReduceL2", Saying::Axes(18)),
    ("ReduceLogSum", Saying::Axes(18)),
    ("ReduceLogSumExp", Saying::Axes(18)),
    ("ReduceMax", Saying::Axes(18)),
    ("ReduceMean", Saying::Axes(18)),
    ("ReduceMin", Saying::Axes(18)),
    ("ReduceProd", Saying::Axes(18)),
    ("ReduceSumSquare", Saying::Axes(18)),
    ("Split", Saying::Parts(18)),
    ("BatchNormalization", Saying::Attribute(14, "training_mode", Value::Int(0))),
    ("Reshape", Saying::Attribute(14, "allowzero", Value::Int(0))),
    ("Shape", Saying::Attribute(15, "start", Value::Int(0))),
    ("ScatterElements", Saying::Attribute(16, "reduction", Value::Text("none"))),
    ("ScatterND", Saying::Attribute(16, "reduction", Value::Text("none"))),
    ("AveragePool", Saying::Otherwise(19, counts_padding_above, "windows that hang over are divided by another count")),
];

/// ONNX said in opset 19 what a window over the edge is divided by.
fn counts_padding_above(node: &pb::NodeProto) -> bool {
    let on = |name: &str| node.attribute.iter().any(|a| a.name() == name && a.i() != 0);
    on("ceil_mode") && on("count_include_pad")
}

impl Value {
    fn is(&self, attribute: &pb::AttributeProto) -> bool {
        match self {
            Value::Int(value) => attribute.i() == *value,
            Value::Text(text) => attribute.s() == text.as_bytes(),
        }
    }

    fn attribute(&self, name: &str) -> pb::AttributeProto {
        match self {
            Value::Int(value) => a::attr_int(name, *value),
            Value::Text(text) => a::attr_string(name, *text),
        }
    }
}

/// The opset of ONNX's own operators in the model.
pub(crate) fn opset_of(model: &pb::ModelProto) -> Option<i64> {
    model.opset_import.iter().find(|o| o.domain().is_empty()).map(pb::OperatorSetIdProto::version)
}

/// Says the model, of [`OPSET`], in the words of `opset`. Fails with the node where that opset has none for it.
pub fn to_opset(model: &mut pb::ModelProto, opset: i64) -> Result<()> {
    each_list(model, &mut |list| list.said_in(opset))?;
    set(model, opset);
    model.ir_version = Some(ir_version(opset));
    Ok(())
}

/// The inverse of [`to_opset`].
pub(super) fn from_opset(model: &mut pb::ModelProto) -> std::result::Result<(), String> {
    let opset = opset_of(model).ok_or("it says no opset of ONNX's own operators")?;
    if opset != OPSET {
        each_list(model, &mut |list| list.said_as_here(opset)).map_err(|e| e.to_string())?;
        set(model, OPSET);
    }
    Ok(())
}

fn set(model: &mut pb::ModelProto, opset: i64) {
    let lists = model.functions.iter_mut().map(|f| &mut f.opset_import).chain([&mut model.opset_import]);
    lists.flatten().filter(|o| o.domain().is_empty()).for_each(|o| o.version = Some(opset));
}

/// A list of nodes with where constants go.
struct List<'a> {
    nodes: &'a mut Vec<pb::NodeProto>,
    /// Of a graph; a function has nodes for them.
    initializers: Option<&'a mut Vec<pb::TensorProto>>,
    names: HashSet<String>,
}

fn each_list(model: &mut pb::ModelProto, what: &mut dyn FnMut(List) -> Result<()>) -> Result<()> {
    let names =
        |nodes: &[pb::NodeProto]| -> HashSet<String> { nodes.iter().flat_map(|n| n.output.iter().chain(&n.input)).cloned().collect() };
    if let Some(graph) = &mut model.graph {
        let mut names = names(&graph.node);
        names.extend(graph.initializer.iter().map(|t| t.name().to_string()).chain(graph.input.iter().map(|i| i.name().to_string())));
        what(List { nodes: &mut graph.node, initializers: Some(&mut graph.initializer), names })?;
    }
    for function in &mut model.functions {
        let mut names = names(&function.node);
        names.extend(function.input.iter().cloned());
        what(List { nodes: &mut function.node, initializers: None, names })?;
    }
    Ok(())
}

impl List<'_> {
    fn said_in(mut self, opset: i64) -> Result<()> {
        let mut constants = vec![];
        for index in 0..self.nodes.len() {
            let Some(node) = self.nodes.get_mut(index).filter(|n| n.domain().is_empty()) else { continue };
            if same(node.op_type(), OPSET, opset) {
                continue;
            }
            let (op, mut axes) = (node.op_type().to_string(), None);
            for (_, saying) in SAYINGS.iter().filter(|(name, _)| *name == op) {
                axes = axes.or(say(node, saying, opset)?);
            }
            check(node, opset)?;
            if let Some(axes) = axes {
                let output = node.output.first().ok_or_else(|| Error::internal(format!("node `{}` ({op}) has no output", node.name())))?;
                let name = (0..).map(|n| if n == 0 { format!("{output}.axes") } else { format!("{output}.axes_{n}") });
                let name = name.into_iter().find(|name| !self.names.contains(name));
                let name = name.ok_or_else(|| Error::internal(format!("no name is left for the axes of `{output}`")))?;
                node.input.push(name.clone());
                self.names.insert(name.clone());
                constants.push((name, Tensor::from_i64(&[axes.len()], &axes)));
            }
        }
        match self.initializers {
            Some(list) => list.extend(constants.iter().map(|(name, tensor)| to_proto(name, tensor))),
            // Constants of a function come first.
            None => {
                let nodes = constants.iter().map(|(name, tensor)| super::nodes::constant(format!("{name}.value"), name.clone(), tensor));
                self.nodes.splice(0..0, nodes);
            }
        }
        Ok(())
    }

    fn said_as_here(self, opset: i64) -> Result<()> {
        let failed = |node: &pb::NodeProto, why: &str| Error::model(format!("node `{}` ({}): {why}", node.name(), node.op_type()));
        let constant = |n: &pb::NodeProto| Some((n.output.first()?.clone(), n.attribute.first()?.t.clone()?));
        let mut known: HashMap<String, pb::TensorProto> =
            self.nodes.iter().filter(|n| n.op_type() == "Constant").filter_map(constant).collect();
        known.extend(
            self.initializers
                .iter()
                .flat_map(|list| list.iter())
                .filter(|t| t.data_type() == DType::I64.onnx())
                .map(|t| (t.name().to_string(), t.clone())),
        );
        let mut taken: HashSet<String> = HashSet::new();
        for node in self.nodes.iter_mut().filter(|n| n.domain().is_empty()) {
            let op = node.op_type().to_string();
            for (_, saying) in SAYINGS.iter().filter(|(name, _)| *name == op) {
                match saying {
                    Saying::Axes(since) if opset >= *since && node.input.len() == 2 => {
                        if let Some(name) = node.input.pop() {
                            let axes = known.get(&name).and_then(numbers);
                            node.attribute.push(a::attr_ints("axes", axes.ok_or_else(|| failed(node, "its axes are no constant"))?));
                            taken.insert(name);
                        }
                    }
                    Saying::Attribute(since, name, value) if opset < *since && !node.attribute.iter().any(|a| a.name() == *name) => {
                        node.attribute.push(value.attribute(name));
                    }
                    Saying::Parts(since) if opset >= *since => node.attribute.retain(|a| a.name() != "num_outputs"),
                    _ => {}
                }
            }
        }
        let read: HashSet<String> = self.nodes.iter().flat_map(|n| n.input.iter().cloned()).collect();
        let gone = |name: &str| taken.contains(name) && !read.contains(name);
        if let Some(list) = self.initializers {
            list.retain(|t| !gone(t.name()));
        }
        self.nodes.retain(|n| !(n.op_type() == "Constant" && n.output.first().is_some_and(|o| gone(o))));
        Ok(())
    }
}

/// Says a node in the words of `opset`; gives the axes that are an input there.
fn say(node: &mut pb::NodeProto, saying: &Saying, opset: i64) -> Result<Option<Vec<i64>>> {
    let lacking = |node: &pb::NodeProto, why: String| {
        let text = format!("node `{}` ({}) cannot be said in opset {opset}: {why}. Take opset {OPSET}", node.name(), node.op_type());
        Err(Error::model(text))
    };
    match saying {
        Saying::Axes(since) if opset >= *since => {
            let axes = node.attribute.iter().find(|a| a.name() == "axes").map(|a| a.ints.clone());
            node.attribute.retain(|a| a.name() != "axes");
            return Ok(axes);
        }
        Saying::Attribute(since, name, value) if opset < *since => {
            if let Some(other) = node.attribute.iter().find(|a| a.name() == *name).filter(|a| !value.is(a)) {
                let shown = if other.s().is_empty() { other.i().to_string() } else { String::from_utf8_lossy(other.s()).into_owned() };
                return lacking(node, format!("`{name}` = {shown} came with opset {since}"));
            }
            node.attribute.retain(|a| a.name() != *name);
        }
        Saying::Parts(since) if opset >= *since && node.input.len() < 2 => {
            node.attribute.push(a::attr_int("num_outputs", i64::try_from(node.output.len()).unwrap_or(i64::MAX)));
        }
        Saying::Otherwise(since, concerns, why) if opset >= *since && concerns(node) => {
            return lacking(node, format!("since opset {since} {why}"));
        }
        _ => {}
    }
    Ok(None)
}

/// The integers of a constant, which lie in the model itself.
fn numbers(proto: &pb::TensorProto) -> Option<Vec<i64>> {
    crate::onnx::tensor(proto, std::path::Path::new("")).ok()?.to_i64().ok()
}

/// Fails where the node is none of `opset`.
fn check(node: &pb::NodeProto, opset: i64) -> Result<()> {
    let failed = |why: String| {
        let (name, op) = (node.name(), node.op_type());
        Err(Error::model(format!("node `{name}` ({op}) cannot be said in opset {opset}: {why}. Take opset {OPSET}")))
    };
    let schema = match find(node.op_type(), opset) {
        Found::Here(schema) => schema,
        Found::Later(since) => return failed(format!("the operator came with opset {since}")),
        Found::Gone(since) => return failed(format!("opset {since} took the operator away")),
        Found::Never => return failed("no opset has the operator".into()),
    };
    if let Some(other) = node.attribute.iter().find(|a| !schema.attributes.iter().any(|s| s.name == a.name())) {
        return failed(format!("it has no attribute `{}` there", other.name()));
    }
    if node.input.len() > most(&schema.inputs) || node.output.len() > most(&schema.outputs) {
        return failed("it has fewer inputs or outputs there".into());
    }
    Ok(())
}

/// How many there can be.
fn most(formals: &[Formal]) -> usize {
    if formals.iter().any(|f| matches!(f.number, Number::Many(_))) { usize::MAX } else { formals.len() }
}
