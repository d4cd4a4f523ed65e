//! Of a model's structure: operators, attributes, edges, tensors, shapes, opsets, functions, external data.

use super::{Random, bytes};
use prost::Message;
use spgraph::onnx::pb;

pub fn model(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let Ok(mut model) = pb::ModelProto::decode(seed) else { return bytes(seed, random) };
    if random.below(8) == 0 {
        return bytes(seed, random);
    }
    for _ in 0..=random.below(2) {
        match random.below(24) {
            0 => {
                model.opset_import.iter_mut().for_each(|o| o.version = Some(if o.version() > 0 { 7 + random.below(21) as i64 } else { 0 }))
            }
            1 => model.ir_version = Some(random.extreme()),
            2 => model.metadata_props.iter_mut().for_each(|p| p.value = Some(text(p.value(), random))),
            3 if !model.functions.is_empty() => {
                let at = random.below(model.functions.len());
                function(&mut model.functions[at], random);
            }
            _ => model.graph.iter_mut().for_each(|g| graph(g, random)),
        }
    }
    model.encode_to_vec()
}

fn text(seed: &str, random: &mut Random) -> String {
    String::from_utf8_lossy(&super::json(seed.as_bytes(), random)).into_owned()
}

fn function(function: &mut pb::FunctionProto, random: &mut Random) {
    match random.below(5) {
        0 => drop(function.input.pop()),
        1 => drop(function.output.pop()),
        2 => function.input.push("more".into()),
        3 => function.name = Some("Relu".into()),
        _ => nodes(&mut function.node, random),
    }
}

fn graph(graph: &mut pb::GraphProto, random: &mut Random) {
    match random.below(12) {
        0..=6 => nodes(&mut graph.node, random),
        7..=9 if !graph.initializer.is_empty() => {
            let which = random.below(graph.initializer.len());
            if random.below(12) == 0 {
                let twice = graph.initializer[which].clone();
                graph.initializer.push(twice);
            } else {
                tensor(&mut graph.initializer[which], random);
            }
        }
        10 if !graph.value_info.is_empty() => {
            let which = random.below(graph.value_info.len());
            port(&mut graph.value_info[which], random);
        }
        _ => {
            let ports = if random.below(2) == 0 { &mut graph.input } else { &mut graph.output };
            let which = random.below(ports.len());
            match (random.below(8), which < ports.len()) {
                (0, true) => ports.push(ports[which].clone()),
                (1, true) => drop(ports.remove(which)),
                (_, true) => port(&mut ports[which], random),
                _ => {}
            }
        }
    }
}

const OPERATORS: [&str; 44] = [
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvTranspose",
    "CumSum",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Einsum",
    "Expand",
    "Flatten",
    "Gather",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "If",
    "LayerNormalization",
    "Loop",
    "MatMul",
    "MaxPool",
    "Mod",
    "Pad",
    "Pow",
    "Range",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Resize",
    "ScatterND",
    "Shape",
    "Slice",
    "Softmax",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

fn nodes(nodes: &mut Vec<pb::NodeProto>, random: &mut Random) {
    let count = nodes.len();
    if count == 0 {
        return;
    }
    let at = random.below(count);
    let name = |random: &mut Random| {
        let node = &nodes[random.below(count)];
        let names = if random.below(2) == 0 { &node.output } else { &node.input };
        random.pick(names).cloned().unwrap_or_default()
    };
    let other = name(random);
    match random.below(14) {
        // Attributes.
        0..=4 => {
            let with: Vec<usize> = (0..count).filter(|&i| !nodes[i].attribute.is_empty()).collect();
            let Some(&node) = random.pick(&with) else { return };
            let of_other = random.pick(&with).and_then(|&i| nodes[i].attribute.first().cloned());
            let attributes = &mut nodes[node].attribute;
            let which = random.below(attributes.len());
            match random.below(8) {
                0 => drop(attributes.remove(which)),
                1 => attributes.push(attributes[which].clone()),
                2 => attributes.extend(of_other),
                _ => attribute(&mut attributes[which], random),
            }
        }
        // Edges.
        5..=7 => {
            let node = &mut nodes[at];
            let which = random.below(node.input.len());
            match (random.below(5), node.input.is_empty()) {
                (0, false) => drop(node.input.pop()),
                (1 | 2, false) => node.input[which] = other,
                (3, false) => node.input[which].clear(),
                _ => node.input.push(other),
            }
        }
        8 => {
            let node = &mut nodes[at];
            match random.below(4) {
                0 => node.output.push(other),
                1 => node.output.clear(),
                2 => node.output.push(format!("{other}.more")),
                _ => node.output.iter_mut().for_each(|o| *o = other.clone()),
            }
        }
        9 | 10 => nodes[at].op_type = Some(OPERATORS[random.below(OPERATORS.len())].into()),
        11 => nodes[at].domain = Some(["ai.onnx", "com.microsoft", "ai.spgraph", ""][random.below(4)].into()),
        12 => {
            let node = nodes.remove(at);
            if random.below(2) == 0 {
                nodes.insert(random.below(count), node);
            }
        }
        // A further node between two.
        _ => {
            let read = other;
            let mut node = pb::NodeProto {
                op_type: Some(OPERATORS[random.below(OPERATORS.len())].into()),
                input: vec![read; 1 + random.below(3)],
                output: vec![format!("new.{at}")],
                ..Default::default()
            };
            node.attribute = nodes[at].attribute.clone();
            if let Some(input) = nodes[at].input.first_mut() {
                *input = format!("new.{at}");
            }
            nodes.insert(at, node);
        }
    }
}

fn attribute(attribute: &mut pb::AttributeProto, random: &mut Random) {
    let float = [f32::NAN, f32::INFINITY, -1.0, 0.0, f32::MAX, f32::MIN_POSITIVE, -0.0, 0.5][random.below(8)];
    match random.below(8) {
        0 => attribute.i = Some(random.extreme()),
        1 => attribute.f = Some(float),
        2 => attribute.ints.push(random.extreme()),
        3 => drop(attribute.ints.pop()),
        4 => attribute.r#type = Some(random.below(16) as i32),
        5 => {
            attribute.s = Some(
                ["", "SAME_UPPER", "VALID", "linear", "reflect", "ij,jk->ik", "....,->", "DCR", "a"][random.below(9)].as_bytes().to_vec(),
            )
        }
        6 => attribute.t.iter_mut().for_each(|t| tensor(t, random)),
        _ => {
            // What is there becomes something else.
            if let Some(i) = &mut attribute.i {
                *i = random.extreme();
            }
            if let Some(f) = &mut attribute.f {
                *f = float;
            }
            let which = random.below(attribute.ints.len());
            attribute.ints.iter_mut().skip(which).take(1).for_each(|i| *i = random.extreme());
            attribute.floats.iter_mut().for_each(|f| *f = float);
            attribute.t.iter_mut().for_each(|t| tensor(t, random));
            attribute.g.iter_mut().for_each(|g| graph(g, random));
        }
    }
}

fn tensor(tensor: &mut pb::TensorProto, random: &mut Random) {
    match random.below(9) {
        0 => tensor.dims.push(random.extreme()),
        1 => drop(tensor.dims.pop()),
        2 => {
            let which = random.below(tensor.dims.len());
            tensor.dims.iter_mut().skip(which).take(1).for_each(|d| *d = random.extreme());
        }
        3 => tensor.data_type = Some(random.below(24) as i32),
        4 => tensor.raw_data = tensor.raw_data.as_ref().map(|d| d.slice(..d.len() / 2)),
        5 | 6 if tensor.data_type() == pb::tensor_proto::DataType::Int64 as i32 => {
            if let Some(data) = &tensor.raw_data {
                let mut numbers = data.to_vec();
                let at = 8 * random.below(numbers.len() / 8);
                numbers.iter_mut().skip(at).zip(random.extreme().to_le_bytes()).for_each(|(b, n)| *b = n);
                tensor.raw_data = Some(numbers.into());
            }
            let which = random.below(tensor.int64_data.len());
            tensor.int64_data.iter_mut().skip(which).take(1).for_each(|n| *n = random.extreme());
        }
        7 if !tensor.external_data.is_empty() => {
            let which = random.below(tensor.external_data.len());
            let entry = &mut tensor.external_data[which];
            match random.below(6) {
                0 => entry.value = Some(random.extreme().to_string()),
                1 => {
                    entry.value = Some(
                        ["..", "/etc/passwd", "../x", "a/../../x", "", ".", "m.onnx", "external.weights/", "a\0b"][random.below(9)].into(),
                    )
                }
                2 => entry.key = Some(["location", "offset", "length", "checksum"][random.below(4)].into()),
                3 => tensor.external_data.clear(),
                4 => entry.value = Some(text(entry.value(), random)),
                _ => drop(tensor.external_data.remove(which)),
            }
        }
        8 => tensor.data_location = Some(random.below(3) as i32),
        _ => {
            if let Some(data) = &tensor.raw_data {
                tensor.raw_data = Some(bytes(data, random).into());
            }
        }
    }
}

/// The shape and type of an input, an output or a value.
fn port(port: &mut pb::ValueInfoProto, random: &mut Random) {
    use pb::tensor_shape_proto::dimension::Value::{DimParam, DimValue};
    let Some(pb::type_proto::Value::TensorType(tensor)) = port.r#type.as_mut().and_then(|t| t.value.as_mut()) else { return };
    let Some(shape) = &mut tensor.shape else { return };
    let which = random.below(shape.dim.len());
    match random.below(8) {
        0 => tensor.elem_type = Some(random.below(24) as i32),
        1 => drop(shape.dim.pop()),
        2 => shape.dim.push(Default::default()),
        3 => tensor.shape = None,
        4 => shape.dim.iter_mut().skip(which).take(1).for_each(|d| d.value = Some(DimParam("n".into()))),
        5 => shape.dim.iter_mut().skip(which).take(1).for_each(|d| d.value = None),
        _ => shape.dim.iter_mut().skip(which).take(1).for_each(|d| d.value = Some(DimValue(random.extreme()))),
    }
}
