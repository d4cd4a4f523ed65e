//! Probabilities in the place of scores, and the likeliest classes.

use super::nodes::{Attr, Nodes};
use super::{Deployment, port};
use crate::bundle::prediction::PredictionPort;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{DType, Tensor};
use crate::loss::Activation;
use crate::onnx::pb;

/// Adds them behind the output that `of` names; gives how the scores are read then.
pub fn add(nodes: &mut Nodes, graph: &mut pb::GraphProto, of: &PredictionPort, asked: &Deployment) -> Result<PredictionPort> {
    let place = graph.output.iter().position(|o| o.name() == of.output);
    let place = place.ok_or_else(|| Error::model(format!("the export has no output `{}`", of.output)))?;
    let mut scores = of.output.clone();
    let mut read = of.clone();
    if asked.softmax {
        let (op, activation) = match (of.activation, of.loss.as_str()) {
            (Activation::None, "cross-entropy") => ("Softmax", Activation::Softmax),
            (Activation::None, "bce") => ("Sigmoid", Activation::Sigmoid),
            (Activation::LogSoftmax, _) => ("Exp", Activation::Softmax),
            (Activation::None, loss) => {
                return Err(Error::option(Field::SOFTMAX, format!(": what the loss {loss} trains are no scores of classes")));
            }
            (Activation::Softmax | Activation::Sigmoid, _) => ("", of.activation),
        };
        if !op.is_empty() {
            let name = nodes.name("probabilities");
            let axis = [("axis", Attr::Int(1))];
            nodes.node(op, &[&scores], &[&name], if op == "Softmax" { &axis } else { &[] });
            graph.output.iter_mut().skip(place).take(1).for_each(|output| output.name = Some(name.clone()));
            scores = name;
        }
        read = port(&scores, activation, of);
    }
    if let Some(k) = asked.top {
        if nodes.opset < 10 {
            let why =
                format!(": the model has opset {}, and from 10 on the likeliest classes can be told. Export the source again", nodes.opset);
            return Err(Error::option(Field::TOP, why));
        }
        let count = graph.output.get(place).and_then(|output| dim(output, 1));
        if k == 0 || count.is_some_and(|n| k as i64 > n) {
            let of = count.map_or(String::new(), |n| format!(" of {n}"));
            return Err(Error::option(Field::TOP, format!(" {k}: give a number of classes from 1 on, and no more than there are{of}")));
        }
        let number = nodes.constant(&Tensor::from_i64(&[1], &[k as i64]));
        let (values, labels) = (nodes.name("top_scores"), nodes.name("top_labels"));
        nodes.node("TopK", &[&scores, &number], &[&values, &labels], &[("axis", Attr::Int(1))]);
        let mut shown = graph.output.get(place).cloned().unwrap_or_default();
        shown.name = Some(values);
        set_dim(&mut shown, 1, k as i64);
        let mut told = shown.clone();
        told.name = Some(labels);
        if let Some(pb::type_proto::Value::TensorType(t)) = told.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            t.elem_type = Some(DType::I64.onnx());
        }
        graph.output.extend([told, shown]);
    }
    Ok(read)
}

fn shape(info: &mut pb::ValueInfoProto) -> Option<&mut pb::TensorShapeProto> {
    match info.r#type.as_mut()?.value.as_mut()? {
        pb::type_proto::Value::TensorType(t) => t.shape.as_mut(),
        _ => None,
    }
}

fn dim(info: &pb::ValueInfoProto, axis: usize) -> Option<i64> {
    use pb::tensor_shape_proto::dimension::Value;
    match shape(&mut info.clone())?.dim.get(axis)?.value {
        Some(Value::DimValue(n)) => Some(n),
        _ => None,
    }
}

fn set_dim(info: &mut pb::ValueInfoProto, axis: usize, size: i64) {
    use pb::tensor_shape_proto::dimension::Value;
    if let Some(d) = shape(info).and_then(|s| s.dim.get_mut(axis)) {
        d.value = Some(Value::DimValue(size));
    }
}
