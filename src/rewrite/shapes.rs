//! Numbers of classes that a model has written down beside its classifier: in shapes behind it, and in the declarations of its outputs.

use crate::import::{Imported, node_name};
use crate::ir::{Dim, Graph, Tensor, ValueId};
use crate::onnx::{ExternalData, SourceModel, declared_type, pb, tensor_with, to_proto};
use crate::operator::View;
use pb::tensor_shape_proto::dimension::Value;
use std::collections::{HashMap, HashSet};

/// Puts the new number of classes into the shapes that hold the old one, between the classifier's `parameters` and it and behind it, and drops
/// declarations of what lies between, which may be stale.
pub(super) fn adapt(source: &mut SourceModel, imported: &Imported, parameters: &[ValueId], old: usize, classes: usize) {
    let graph = &imported.graph;
    let concerned: HashSet<ValueId> = parameters.iter().flat_map(|&p| graph.dependents(p)).collect();
    let Some(proto) = source.proto.graph.as_mut() else { return };
    proto.value_info.clear();
    // The first of a name, should there be several.
    let places: HashMap<String, usize> = proto.node.iter().enumerate().rev().map(|(i, n)| (node_name(i, n), i)).collect();
    let mut shapes = vec![];
    for node in graph.nodes.iter().filter(|n| n.used().any(|v| concerned.contains(&v))) {
        let view = View { graph, node };
        let takes_shape = view.operator().is_some_and(|o| matches!(o.shape_operand(&view), Ok(Some(_))));
        let Some(&index) = places.get(&node.name).filter(|_| takes_shape) else { continue };
        let Some(name) = proto.node.get(index).and_then(|n| n.input.get(1)).cloned() else { continue };
        let Some(mut numbers) = constant(proto, &name) else { continue };
        // The batch is in front.
        let first = node.outputs.iter().any(|&o| graph.value(o).varies) as usize;
        let mut places = numbers.iter_mut().skip(first).filter(|n| **n == old as i64);
        if let (Some(place), None) = (places.next(), places.next()) {
            *place = classes as i64;
            shapes.push((index, format!("{name}.{classes}.{index}"), numbers));
        }
    }
    for (index, name, numbers) in shapes {
        let tensor = Tensor::from_i64(&[numbers.len()], &numbers);
        if let Some(input) = proto.node.get_mut(index).and_then(|n| n.input.get_mut(1)) {
            *input = name.clone();
        }
        proto.initializer.push(to_proto(&name, &tensor));
        // Up to IR version 3 every initializer is also declared as an input.
        if source.proto.ir_version.is_some_and(|v| v < 4) {
            proto.input.push(crate::emit::value_info(&name, &tensor.ty()));
        }
    }
}

/// The integers of an initializer, or of a Constant node, of that name.
fn constant(graph: &pb::GraphProto, name: &str) -> Option<Vec<i64>> {
    let read = |t: &pb::TensorProto| tensor_with(t, &ExternalData::new(std::path::Path::new(""))).ok()?.to_i64().ok();
    if let Some(initializer) = graph.initializer.iter().find(|t| t.name() == name) {
        return read(initializer);
    }
    let node = graph.node.iter().find(|n| n.op_type() == "Constant" && n.output.iter().any(|o| o == name))?;
    let ints = |a: &pb::AttributeProto| (a.name() == "value_ints").then(|| a.ints.clone());
    node.attribute.iter().find_map(|a| a.t.as_ref().and_then(read).or_else(|| ints(a)))
}

/// Declares every output with the shape that the network computes. The batch stays as the model calls it.
pub(super) fn declare(source: &mut SourceModel, imported: &Imported) {
    let graph = &imported.graph;
    let Some(proto) = source.proto.graph.as_mut() else { return };
    let batch = batch_of(proto, imported);
    for (info, &value) in proto.output.iter_mut().filter(|o| !imported.lacks(o.name())).zip(&graph.outputs) {
        let Some(pb::type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut()) else { continue };
        let Some(shape) = t.shape.as_mut() else { continue };
        let computed = computed(graph, value, imported);
        shape.dim.resize_with(computed.len(), Default::default);
        for (dim, computed) in shape.dim.iter_mut().zip(computed) {
            match (computed, &batch, &dim.value) {
                (Dim::Known(n), ..) => dim.value = Some(Value::DimValue(n as i64)),
                (Dim::Batch(k), Some(Value::DimValue(n)), _) => {
                    dim.value = i64::try_from(k).ok().and_then(|k| k.checked_mul(*n)).map(Value::DimValue);
                }
                (Dim::Batch(1), other, Some(Value::DimValue(_)) | None) => dim.value = other.clone(),
                (Dim::Batch(_), _, Some(Value::DimValue(_))) => dim.value = None,
                _ => {}
            }
        }
    }
}

/// What the model says about the batch of its images.
fn batch_of(proto: &pb::GraphProto, imported: &Imported) -> Option<Value> {
    let name = imported.graph.name_of(imported.input);
    let info = proto.input.iter().find(|i| i.name() == name)?;
    declared_type(info)?;
    let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    t.shape.as_ref()?.dim.first()?.value.clone()
}

/// The dimensions of an output. Where the network had to be imported for one number of images, the first one counts them.
fn computed(graph: &Graph, value: ValueId, imported: &Imported) -> Vec<Dim> {
    let mut shape = graph.ty(value).shape.clone();
    let images = graph.ty(imported.input).shape.first().and_then(|d| d.known());
    if let (Some(first @ &mut Dim::Known(n)), Some(images)) = (shape.first_mut(), images)
        && n.checked_rem(images) == Some(0)
    {
        *first = n.checked_div(images).map_or(*first, Dim::Batch);
    }
    shape
}
