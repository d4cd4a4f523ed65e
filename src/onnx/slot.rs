//! Where a model keeps a tensor.

use super::pb;
use crate::ir::DType;

/// The place of the tensor of that name: an initializer, or the value of a Constant node, which may have written it as numbers.
pub fn tensor_slot<'a>(graph: &'a mut pb::GraphProto, name: &str) -> Option<&'a mut pb::TensorProto> {
    if let Some(i) = graph.initializer.iter().position(|t| t.name() == name) {
        return graph.initializer.get_mut(i);
    }
    let constant = graph.node.iter_mut().find(|n| n.op_type() == "Constant" && n.output.iter().any(|o| o == name))?;
    for a in &mut constant.attribute {
        let (dims, numbers) = match a.name() {
            "value_float" => (vec![], vec![a.f()]),
            "value_floats" => (vec![a.floats.len() as i64], std::mem::take(&mut a.floats)),
            _ => continue,
        };
        let value = pb::TensorProto { dims, data_type: Some(DType::F32.onnx()), float_data: numbers, ..Default::default() };
        *a = pb::AttributeProto {
            name: Some("value".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Tensor as i32),
            t: Some(value),
            ..Default::default()
        };
    }
    constant.attribute.iter_mut().find(|a| a.name() == "value")?.t.as_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::tensor;
    use pb::attribute_proto::AttributeType;

    fn constant(name: &str, kind: AttributeType, set: impl FnOnce(&mut pb::AttributeProto)) -> pb::NodeProto {
        let mut value = pb::AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..Default::default() };
        set(&mut value);
        pb::NodeProto { op_type: Some("Constant".into()), output: vec![name.into()], attribute: vec![value], ..Default::default() }
    }

    #[test]
    fn a_constant_may_have_its_numbers_in_any_spelling() {
        let stored = |name: &str| pb::TensorProto {
            name: Some(name.into()),
            dims: vec![2],
            data_type: Some(DType::F32.onnx()),
            float_data: vec![1.5, -2.0],
            ..Default::default()
        };
        let mut graph = pb::GraphProto {
            initializer: vec![stored("initializer")],
            node: vec![
                constant("value", AttributeType::Tensor, |a| a.t = Some(stored(""))),
                constant("value_floats", AttributeType::Floats, |a| a.floats = vec![1.5, -2.0]),
                constant("value_float", AttributeType::Float, |a| a.f = Some(1.5)),
            ],
            ..Default::default()
        };
        for (name, values) in
            [("initializer", vec![1.5, -2.0]), ("value", vec![1.5, -2.0]), ("value_floats", vec![1.5, -2.0]), ("value_float", vec![1.5])]
        {
            // Twice: what was rewritten is found again.
            for _ in 0..2 {
                let slot = tensor_slot(&mut graph, name).unwrap_or_else(|| panic!("{name}"));
                assert_eq!(tensor(slot, std::path::Path::new("")).unwrap().to_f64().unwrap(), values, "{name}");
            }
        }
        assert!(tensor_slot(&mut graph, "other").is_none());
    }
}
