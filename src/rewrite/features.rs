//! What enters a network's classifier, as one more output.

use super::head::head_behind;
use super::outputs::choose;
use crate::error::{Error, Result};
use crate::import::{BatchSize, ImportOptions, import, node_name};
use crate::onnx::{SourceModel, pb};

/// Adds the input of the classifier behind `output` to the model's outputs, as its last one. `input_shape`: sizes after the batch, where the model leaves
/// them open. Fails where no classifier is found, and where its node is not one of the file's own.
pub fn show_features(model: &mut SourceModel, output: Option<&str>, input_shape: Option<&[usize]>) -> Result<()> {
    let options = ImportOptions { batch: BatchSize::Fixed(1), input_shape: input_shape.map(<[usize]>::to_vec), keep_ties: true };
    let imported = import(model, &options)?;
    let head = head_behind(&imported, &choose(&imported, output)?)?;
    let hidden = || {
        Error::model(format!(
            "the classifier `{}` of {} lies within a function, or is made of several nodes, so what enters it cannot be given out",
            head.node,
            model.path.display()
        ))
    };
    let graph = model.proto.graph.as_ref().ok_or_else(hidden)?;
    let (_, node) = graph.node.iter().enumerate().find(|(i, n)| node_name(*i, n) == head.node).ok_or_else(hidden)?;
    // The one that depends on the images; the others are the classifier's parameters.
    let computed = imported.graph.nodes.iter().find(|n| n.name == head.node).ok_or_else(hidden)?;
    let place = computed.inputs.iter().position(|v| v.is_some_and(|v| imported.graph.value(v).varies)).ok_or_else(hidden)?;
    let name = node.input.get(place).filter(|name| !name.is_empty()).ok_or_else(hidden)?.clone();
    let graph = model.proto.graph.as_mut().ok_or_else(|| Error::model("the model has no graph"))?;
    let declared = graph.value_info.iter().find(|v| v.name() == name).cloned();
    // A type without sizes: those of the file may be of another batch.
    let element = declared.and_then(|d| match d.r#type?.value? {
        pb::type_proto::Value::TensorType(t) => Some(t.elem_type()),
        _ => None,
    });
    let element = element.unwrap_or_else(|| crate::ir::DType::F32.onnx());
    let tensor = pb::type_proto::Tensor { elem_type: Some(element), shape: None };
    let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    graph.output.push(pb::ValueInfoProto { name: Some(name), r#type: Some(ty), ..Default::default() });
    Ok(())
}
