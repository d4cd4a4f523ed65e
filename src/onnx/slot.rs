//! Where a model keeps a tensor.

use super::pb;
use crate::ir::DType;
use std::collections::HashMap;

/// The places of a graph's tensors, by name, as long as its initializers and nodes stay where they are.
pub struct TensorSlots {
    initializers: HashMap<String, usize>,
    /// Nodes that hold one.
    constants: HashMap<String, usize>,
}

impl TensorSlots {
    /// Of the graph as it is now.
    pub fn of(graph: &pb::GraphProto) -> TensorSlots {
        let initializers = graph.initializer.iter().enumerate().map(|(i, t)| (t.name().to_string(), i)).rev().collect();
        let constants = graph.node.iter().enumerate().filter(|(_, n)| n.op_type() == "Constant");
        let constants = constants.flat_map(|(i, n)| n.output.iter().map(move |o| (o.clone(), i))).collect();
        TensorSlots { initializers, constants }
    }

    /// The place of the tensor of that name in the graph: an initializer, or the value of a Constant node, which may have written it as numbers.
    pub fn get<'a>(&self, graph: &'a mut pb::GraphProto, name: &str) -> Option<&'a mut pb::TensorProto> {
        if let Some(&i) = self.initializers.get(name) {
            return graph.initializer.get_mut(i);
        }
        let constant = graph.node.get_mut(*self.constants.get(name)?)?;
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
}

/// The place of one tensor, as [`TensorSlots`] knows it.
pub fn tensor_slot<'a>(graph: &'a mut pb::GraphProto, name: &str) -> Option<&'a mut pb::TensorProto> {
    TensorSlots::of(graph).get(graph, name)
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
