//! Small models that no exporter would write, and models with something changed.

use spgraph::ir::Tensor;
use spgraph::onnx::{self, pb};
use std::path::Path;

pub fn node(op: &str, name: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(name.into()),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

/// `node` with a graph as an attribute.
pub fn with_graph(mut node: pb::NodeProto, attributes: &[&str]) -> pb::NodeProto {
    for name in attributes {
        let body = pb::GraphProto {
            name: Some("body".into()),
            node: vec![self::node("Identity", "inner", &["x"], "inner_y")],
            output: vec![info("inner_y", 1, &[])],
            ..Default::default()
        };
        node.attribute.push(pb::AttributeProto {
            name: Some(name.to_string()),
            r#type: Some(pb::attribute_proto::AttributeType::Graph as i32),
            g: Some(body),
            ..Default::default()
        });
    }
    node
}

fn info(name: &str, elem: i32, shape: &[i64]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::{Dimension, dimension::Value};
    let size = |&d: &i64| Dimension { value: Some(if d < 0 { Value::DimParam("N".into()) } else { Value::DimValue(d) }), denotation: None };
    let tensor =
        pb::type_proto::Tensor { elem_type: Some(elem), shape: Some(pb::TensorShapeProto { dim: shape.iter().map(size).collect() }) };
    let ty = pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), denotation: None };
    pb::ValueInfoProto { name: Some(name.into()), r#type: Some(ty), ..Default::default() }
}

/// A classifier of N×3×8×8 images: `nodes` from `x` to `features`, then pooling and a product with 3×3 weights `w`.
pub fn classifier(nodes: Vec<pb::NodeProto>, constants: Vec<pb::TensorProto>) -> pb::ModelProto {
    let weights = onnx::to_proto("w", &Tensor::from_f32(&[3, 3], &[0.5; 9]));
    let head = [
        node("GlobalAveragePool", "pool", &["features"], "pooled"),
        node("Flatten", "flat", &["pooled"], "flat_y"),
        node("MatMul", "fc", &["flat_y", "w"], "y"),
    ];
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![pb::OperatorSetIdProto { domain: None, version: Some(17) }],
        graph: Some(pb::GraphProto {
            name: Some("g".into()),
            node: nodes.into_iter().chain(head).collect(),
            initializer: constants.into_iter().chain([weights]).collect(),
            input: vec![info("x", 1, &[-1, 3, 8, 8])],
            output: vec![info("y", 1, &[-1, 3])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Writes the model `from` to `to` with its initializers changed, wherever their data is.
pub fn copy_with(from: &str, to: &Path, change: impl Fn(&mut pb::TensorProto)) {
    use prost::Message;
    let mut model = onnx::read(from).unwrap().proto;
    model.graph.as_mut().unwrap().initializer.iter_mut().for_each(change);
    std::fs::write(to, model.encode_to_vec()).unwrap();
}
