//! The input that a model declares, and the sizes that it gets.

use super::options::{BatchSize, ImportOptions};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Dim, Graph, TensorType, ValueId};
use crate::onnx::{SourceModel, declared_type, pb};
use crate::operator::fold;
use std::collections::{HashMap, HashSet};

/// Why an input is none of images, where it declares no numbers with a known rank.
fn unknown_type(info: &pb::ValueInfoProto) -> Error {
    let (name, field) = (info.name(), Field::INPUT_SHAPE);
    match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(t)) if DType::from_onnx(t.elem_type()).is_some() => {
            Error::usage(format!("the model does not say how many sizes its input `{name}` has; give them, for example {field} 3x224x224"))
        }
        Some(pb::type_proto::Value::TensorType(_)) => Error::model(format!(
            "the input `{name}` has no numbers (strings, or a type that spgraph does not read): it takes no images. Export the network itself"
        )),
        _ => Error::model(format!("the input `{name}` is no tensor: it takes no images. Export the network itself")),
    }
}

/// Writes the sizes of `options` over those that the model declares for its one input, where it says others or none. Says what it declared then.
pub(super) fn resize(source: &mut SourceModel, options: &ImportOptions) -> Option<String> {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let (shape, graph) = (options.input_shape.as_ref()?, source.proto.graph.as_mut()?);
    let initializers: HashSet<&str> = graph.initializer.iter().map(|t| t.name()).collect();
    let mut inputs = graph.input.iter_mut().filter(|i| !initializers.contains(i.name()));
    let (Some(info), None) = (inputs.next(), inputs.next()) else { return None };
    let Some(pb::type_proto::Value::TensorType(t)) = info.r#type.as_mut()?.value.as_mut() else { return None };
    let size = |n: usize| Dimension { value: Some(Value::DimValue(n as i64)), ..Default::default() };
    let declared = match &mut t.shape {
        None => {
            let batch = Dimension { value: Some(Value::DimParam("N".into())), ..Default::default() };
            t.shape = Some(pb::TensorShapeProto { dim: std::iter::once(batch).chain(shape.iter().map(|&n| size(n))).collect() });
            "no sizes".to_string()
        }
        Some(own) if own.dim.len().checked_sub(1) == Some(shape.len()) => {
            let fixed = |d: &Dimension| if let Some(Value::DimValue(n)) = d.value { Some(n).filter(|&n| n > 0) } else { None };
            let sizes: Vec<Option<i64>> = own.dim.iter().skip(1).map(fixed).collect();
            if sizes.iter().zip(shape).all(|(have, &want)| have.is_none_or(|h| h == want as i64)) {
                return None;
            }
            own.dim.truncate(1);
            own.dim.extend(shape.iter().map(|&n| size(n)));
            sizes.iter().map(|s| s.map_or("?".into(), |n| n.to_string())).collect::<Vec<_>>().join("x")
        }
        Some(_) => return None,
    };
    // What the model says of values in between holds for the old sizes.
    graph.value_info.clear();
    Some(declared)
}

/// Declares the model's one data input in `graph`. Gives its batch size too, where the model says it as a number.
pub(super) fn declare(
    graph: &mut Graph,
    values: &mut HashMap<String, ValueId>,
    proto: &pb::GraphProto,
    options: &ImportOptions,
) -> Result<(ValueId, Option<usize>)> {
    if options.batch == BatchSize::Fixed(0) {
        return Err(Error::option(Field::BATCH, " 0 makes no sense: give the number of images per step, or `dynamic`"));
    }
    // Up to IR version 3 every initializer is repeated as an input, also those that hold no numbers and are no values.
    let initializers: HashSet<&str> = proto.initializer.iter().map(|t| t.name()).collect();
    let inputs: Vec<_> = proto.input.iter().filter(|i| !initializers.contains(i.name())).collect();
    let [info] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|i| i.name()).take(5).collect();
        let more = match inputs.len() {
            0 => "none",
            1..=5 => "",
            _ => ", …",
        };
        return Err(Error::model(format!(
            "spgraph trains networks with one input, for images, and this one has {} ({}{more}). Export the network by itself",
            inputs.len(),
            names.join(", ")
        )));
    };
    let name = info.name();
    let (dtype, dims) = declared_type(info).ok_or_else(|| unknown_type(info))?;
    // Bytes are pixels as they are, and the network casts them itself.
    if !matches!(dtype, DType::F32 | DType::F64 | DType::U8) {
        return Err(Error::model(format!(
            "the input `{name}` has element type {dtype}; spgraph trains networks with float32, float64, half-precision or uint8 input"
        )));
    }
    let inner: Vec<usize> = match &options.input_shape {
        Some(shape) if dims.len().checked_sub(1) == Some(shape.len()) => {
            for (have, want) in dims.iter().skip(1).zip(shape) {
                if have.is_some_and(|h| h != *want) {
                    let fixed = dims.iter().skip(1).map(|d| d.map_or("?".into(), |n| n.to_string())).collect::<Vec<_>>().join("x");
                    let why = format!(" {} does not fit the input `{name}`, whose fixed sizes are {fixed}", join(shape));
                    return Err(Error::option(Field::INPUT_SHAPE, why));
                }
            }
            shape.clone()
        }
        Some(shape) => {
            let (given, own) = (shape.len(), dims.len().saturating_sub(1));
            let why = format!(" {} has {given} sizes, the input `{name}` has {own} after the batch", join(shape));
            return Err(Error::option(Field::INPUT_SHAPE, why));
        }
        None => dims.get(1..).unwrap_or_default().iter().copied().collect::<Option<_>>().ok_or_else(|| {
            let field = Field::INPUT_SHAPE;
            Error::usage(format!("the model leaves the sizes of its input `{name}` open; give them, for example {field} 3x224x224"))
        })?,
    };
    if dims.len() < 2 {
        return Err(Error::model(format!("the input `{name}` has no batch dimension followed by data")));
    }
    let shape = std::iter::once(Dim::from(options.batch)).chain(inner.into_iter().map(Dim::Known));
    let ty = TensorType { dtype, shape: shape.collect() };
    fold::possible(std::slice::from_ref(&ty)).map_err(|_| Error::model(format!("the input `{name}` is impossibly large: {ty}")))?;
    let id = graph.input(name, ty);
    values.insert(name.to_string(), id);
    Ok((id, dims.first().copied().flatten()))
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("x")
}
