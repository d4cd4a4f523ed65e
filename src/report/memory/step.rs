//! The step as a typed graph again, read from the bundle's file: functions written out, every shape known.

use crate::engine::inline_functions;
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, DType, Dim, Graph, Node, TensorType, ValueId};
use crate::onnx::pb::attribute_proto::AttributeType;
use crate::onnx::{self, SourceModel, pb};
use crate::operator::{Known, View};
use crate::ops::table;
use std::collections::HashMap;
use std::path::Path;

/// Reads the graph in `path`; `batch` stands for each dimension that the file leaves open.
pub(super) fn read(path: &Path, batch: usize) -> Result<Graph> {
    let mut source = onnx::read(path)?;
    inline_functions(&mut source.proto)?;
    let wrong = |why: String| Error::model(format!("{}: {why}. Run `spgraph rewrite` again to make a new bundle", path.display()));
    let proto = source.graph()?;
    let mut graph = Graph::new(proto.name());
    let mut values: HashMap<&str, ValueId> = HashMap::new();
    for info in &proto.input {
        let ty = declared(info, batch).ok_or_else(|| wrong(format!("its input `{}` has no tensor type", info.name())))?;
        values.insert(info.name(), graph.input(info.name(), ty));
    }
    for initializer in &proto.initializer {
        let tensor = source.tensor(initializer)?;
        values.insert(initializer.name(), graph.constant(initializer.name(), tensor));
    }
    for node in &proto.node {
        let attrs = attributes(&source, node)?;
        if let (Some(Attr::Tensor(tensor)), "Constant", [output]) = (attrs.get("value"), node.op_type(), &node.output[..]) {
            values.insert(output, graph.constant(output, tensor.clone()));
            continue;
        }
        let operator = table::find(node.op_type())
            .filter(|_| matches!(node.domain(), "" | "ai.onnx"))
            .ok_or_else(|| wrong(format!("spgraph does not know the operator {} of node `{}`", node.op_type(), node.name())))?;
        let inputs = node.input.iter().map(|name| match values.get(name.as_str()) {
            None if !name.is_empty() => Err(wrong(format!("node `{}` reads `{name}`, which is computed nowhere before it", node.name()))),
            found => Ok(found.copied()),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let typed = Node::new(node.name(), node.op_type(), inputs, attrs);
        let view = View { graph: &graph, node: &typed };
        let types = operator.infer(&view).map_err(|why| wrong(format!("the shape of node `{}` is not known: {why}", node.name())))?;
        let known = operator.evaluate(&view);
        let names = node.output.iter().map(String::as_str).chain(std::iter::repeat("unused"));
        let outputs = types.into_iter().zip(names).map(|(ty, name)| (name.to_string(), ty)).collect();
        let ids = graph.node(typed, outputs);
        if let (Some(known), Some(&id)) = (known, ids.first()) {
            // For the shapes that depend on it.
            match known {
                Known::Tensor(tensor) => graph.value_mut(id).constant = Some(tensor),
                Known::Elems(elems) => graph.value_mut(id).elems = Some(elems),
            }
        }
        values.extend(node.output.iter().map(String::as_str).zip(ids).filter(|(name, _)| !name.is_empty()));
    }
    for output in &proto.output {
        let id = values.get(output.name()).ok_or_else(|| wrong(format!("no node computes its output `{}`", output.name())))?;
        graph.outputs.push(*id);
    }
    Ok(graph)
}

fn declared(info: &pb::ValueInfoProto, batch: usize) -> Option<TensorType> {
    use pb::tensor_shape_proto::dimension::Value;
    let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    let size = |d: &pb::tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(n)) => usize::try_from(n).unwrap_or(0),
        _ => batch,
    };
    Some(TensorType { dtype: DType::from_onnx(t.elem_type())?, shape: t.shape.as_ref()?.dim.iter().map(|d| Dim::Known(size(d))).collect() })
}

fn attributes(source: &SourceModel, node: &pb::NodeProto) -> Result<Attrs> {
    let read = |a: &pb::AttributeProto| -> Result<(String, Attr)> {
        let value = match (a.r#type(), &a.t) {
            (AttributeType::Int, _) => Attr::Int(a.i()),
            (AttributeType::Float, _) => Attr::Float(a.f()),
            (AttributeType::String, _) => Attr::String(String::from_utf8_lossy(a.s()).into_owned()),
            (AttributeType::Ints, _) => Attr::Ints(a.ints.clone()),
            (AttributeType::Floats, _) => Attr::Floats(a.floats.clone()),
            (AttributeType::Tensor, Some(tensor)) => Attr::Tensor(source.tensor(tensor)?),
            _ => {
                let why = format!("the attribute `{}` of node `{}` has a type that no step has", a.name(), node.name());
                return Err(Error::model(why));
            }
        };
        Ok((a.name().to_string(), value))
    };
    node.attribute.iter().map(read).collect()
}
