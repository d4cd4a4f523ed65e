//! What a model says of the type of an input, an output or a value in between.

use super::pb::{self, tensor_shape_proto::Dimension, tensor_shape_proto::dimension::Value};
use crate::ir::DType;

/// Element type and dimensions (`None`: unknown or symbolic) of a declared tensor.
pub fn declared_type(info: &pb::ValueInfoProto) -> Option<(DType, Vec<Option<usize>>)> {
    let pb::type_proto::Value::TensorType(t) = info.r#type.as_ref()?.value.as_ref()? else { return None };
    let dims = t.shape.as_ref()?.dim.iter().map(|d| match d.value {
        Some(Value::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    });
    Some((DType::from_onnx(t.elem_type())?, dims.collect()))
}

/// A declaration of a tensor.
pub fn declaration(name: &str, dtype: DType, shape: impl IntoIterator<Item = Dimension>) -> pb::ValueInfoProto {
    let shape = pb::TensorShapeProto { dim: shape.into_iter().collect() };
    let tensor = pb::type_proto::Tensor { elem_type: Some(dtype.onnx()), shape: Some(shape) };
    let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() };
    pb::ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
}

/// A dimension of that size; without one it stays open.
pub fn size(n: Option<usize>) -> Dimension {
    Dimension { value: n.and_then(|n| i64::try_from(n).ok()).map(Value::DimValue), ..Default::default() }
}

/// A dimension with a name for its size.
pub fn symbol(name: impl Into<String>) -> Dimension {
    Dimension { value: Some(Value::DimParam(name.into())), ..Default::default() }
}
