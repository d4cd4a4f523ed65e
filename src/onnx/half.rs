//! Models in half precision (float16, bfloat16): read in float32, written back in their own types.

use super::external::ExternalData;
use super::pb::{self, attribute_proto::AttributeType};
use super::tensor::{tensor_with, to_proto};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use std::path::Path;

/// Attributes that name an element type.
const TYPES: [&str; 4] = ["to", "dtype", "output_dtype", "softmax_precision"];

/// Layers whose roundings add up; more of them cancel.
const LAYERS: f64 = 32.0;

fn is_half(code: i32) -> bool {
    DType::from_onnx(code).is_some_and(DType::is_half)
}

/// The half-precision types of a model's weights and other constants; float16 first.
pub fn weight_types(model: &pb::ModelProto) -> Vec<DType> {
    let Some(graph) = &model.graph else { return vec![] };
    let values = graph.node.iter().flat_map(|n| &n.attribute).filter_map(|a| a.t.as_ref());
    let codes: Vec<i32> = graph.initializer.iter().chain(values).map(|t| t.data_type()).collect();
    [DType::F16, DType::BF16].into_iter().filter(|d| codes.contains(&d.onnx())).collect()
}

/// The half-precision types of inputs, outputs and conversions, one for each.
fn value_types(model: &pb::ModelProto) -> Vec<DType> {
    let Some(graph) = &model.graph else { return vec![] };
    let declared = graph.input.iter().chain(&graph.output).filter_map(element);
    let attributes = graph.node.iter().flat_map(|n| &n.attribute).filter(|a| TYPES.contains(&a.name()));
    let named = attributes.filter_map(|a| i32::try_from(a.i()).ok());
    declared.chain(named).filter(|&code| is_half(code)).filter_map(DType::from_onnx).collect()
}

/// Whether anything in a model has a half-precision type.
pub fn is_in(model: &pb::ModelProto) -> bool {
    !weight_types(model).is_empty() || !value_types(model).is_empty()
}

/// The norm-relative difference from float32 that half precision may make in a model's results: the error with which the coarsest of its types holds
/// a number, once for each layer where weights have such a type, and else once for each input, output and conversion that has. 0 without half
/// precision, where results are compared as closely as float32 allows.
pub fn rounding(model: &pb::ModelProto) -> f64 {
    let (weights, values) = (weight_types(model), value_types(model));
    let unit = |dtype: &DType| if *dtype == DType::BF16 { 2f64.powi(-8) } else { 2f64.powi(-11) };
    let times = if weights.is_empty() { LAYERS.min(values.len() as f64) } else { LAYERS };
    times * weights.iter().chain(&values).map(unit).fold(0.0, f64::max)
}

/// Puts float32 in the place of every half-precision type: the same numbers, and products and sums that are not rounded to half precision in between.
/// Tensors in other files are read for it.
pub fn widen(model: &mut pb::ModelProto, external: &ExternalData) -> Result<()> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    for tensor in &mut graph.initializer {
        widen_tensor(tensor, external)?;
    }
    let none = ExternalData::new(Path::new(""));
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        if attribute.r#type == Some(AttributeType::Int as i32)
            && TYPES.contains(&attribute.name())
            && i32::try_from(attribute.i()).is_ok_and(is_half)
        {
            attribute.i = Some(DType::F32.onnx() as i64);
        }
        if let Some(tensor) = attribute.t.as_mut().filter(|t| t.external_data.is_empty()) {
            widen_tensor(tensor, &none)?;
        }
    }
    for info in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        if element(info).is_some_and(is_half)
            && let Some(pb::type_proto::Value::TensorType(t)) = info.r#type.as_mut().and_then(|t| t.value.as_mut())
        {
            t.elem_type = Some(DType::F32.onnx());
        }
    }
    Ok(())
}

fn widen_tensor(proto: &mut pb::TensorProto, external: &ExternalData) -> Result<()> {
    if is_half(proto.data_type()) {
        let wide = tensor_with(proto, external)?.cast(DType::F32)?;
        *proto = pb::TensorProto { name: proto.name.clone(), ..to_proto("", &wide) };
    }
    Ok(())
}

/// A tensor in the floating-point type that the source has for it: each number the nearest, the even one of two. Fails for numbers that are too
/// large for it.
pub fn narrowed(tensor: &Tensor, code: i32, name: &str) -> Result<Tensor> {
    let other = |d: &DType| d.is_float() && tensor.dtype().is_float() && *d != tensor.dtype();
    let Some(dtype) = DType::from_onnx(code).filter(other) else { return Ok(tensor.clone()) };
    let narrow = tensor.cast(dtype)?;
    let values = tensor.to_f64()?;
    if let Some((large, _)) = values.iter().zip(narrow.to_f64()?).find(|(wide, narrow)| wide.is_finite() && !narrow.is_finite()) {
        return Err(Error::model(format!(
            "`{name}` has grown to {large:.6e}, which {dtype}, its type in the model, cannot hold: convert the source model to float32 and train that, \
             or train with a smaller learning rate"
        )));
    }
    Ok(narrow)
}

fn element(info: &pb::ValueInfoProto) -> Option<i32> {
    match info.r#type.as_ref()?.value.as_ref()? {
        pb::type_proto::Value::TensorType(t) => Some(t.elem_type()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_not_beyond() {
        let wide = Tensor::from_f32(&[3], &[1.0 + 2f32.powi(-11), 65504.0, f32::NEG_INFINITY]);
        let narrow = narrowed(&wide, DType::F16.onnx(), "w").unwrap();
        assert_eq!((narrow.dtype(), narrow.to_f64().unwrap()), (DType::F16, vec![1.0, 65504.0, f64::NEG_INFINITY]));
        assert_eq!(narrowed(&wide, DType::F32.onnx(), "w").unwrap(), wide);
        let error = narrowed(&Tensor::from_f32(&[1], &[65520.0]), DType::F16.onnx(), "fc.weight").unwrap_err().to_string();
        assert!(error.contains("`fc.weight` has grown to 6.552") && error.contains("float16"), "{error}");
        assert!(narrowed(&Tensor::from_f32(&[1], &[65520.0]), DType::BF16.onnx(), "w").is_ok());
    }
}
