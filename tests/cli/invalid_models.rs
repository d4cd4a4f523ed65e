//! Models that ONNX does not allow, each refused with the name of the node or value, and models that are only written in an unusual way.

use crate::models::{classifier, node};
use crate::support::Lab;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::attributes::{attr_float, attr_int, attr_ints, attr_string};
use spgraph::onnx::{self, pb, to_proto};

/// `Conv → Relu → MaxPool`, which is valid.
fn valid() -> pb::ModelProto {
    let mut conv = node("Conv", "conv", &["x", "k", "b"], "c");
    conv.attribute = vec![attr_ints("pads", [1, 1, 1, 1]), attr_ints("strides", [1, 1])];
    let mut pool = node("MaxPool", "max", &["r"], "features");
    pool.attribute = vec![attr_ints("kernel_shape", [2, 2]), attr_ints("strides", [2, 2])];
    let weights = [to_proto("k", &Tensor::from_f32(&[3, 3, 3, 3], &[0.1; 81])), to_proto("b", &Tensor::from_f32(&[3], &[0.1; 3]))];
    classifier(vec![conv, node("Relu", "relu", &["c"], "r"), pool], weights.to_vec())
}

fn changed(change: impl Fn(&mut pb::GraphProto)) -> pb::ModelProto {
    let mut model = valid();
    model.graph.iter_mut().for_each(change);
    model
}

/// The valid model with other attributes at one node.
fn with(at: usize, attributes: &[pb::AttributeProto]) -> pb::ModelProto {
    changed(|g| g.node[at].attribute = attributes.to_vec())
}

fn opset(version: i64) -> pb::ModelProto {
    let mut model = valid();
    model.opset_import[0].version = Some(version);
    model
}

/// Ones in half precision.
fn half(name: &str, shape: &[usize]) -> pb::TensorProto {
    to_proto(name, &Tensor::from_f32(shape, &vec![1.0; shape.iter().product()]).cast(DType::F16).unwrap())
}

/// The output of another element type than its node computes.
fn declared(code: i32) -> pb::ModelProto {
    changed(|g| {
        if let Some(pb::type_proto::Value::TensorType(tensor)) = g.output[0].r#type.as_mut().and_then(|t| t.value.as_mut()) {
            tensor.elem_type = Some(code);
        }
    })
}

/// BatchNormalization in the place of Relu.
fn normalized(training: i64, outputs: &[&str]) -> pb::ModelProto {
    changed(|g| {
        let mut norm = node("BatchNormalization", "norm", &["c", "b", "b", "b", "b"], "r");
        norm.output = std::iter::once("r").chain(outputs[1..].iter().copied()).map(String::from).collect();
        norm.attribute = vec![attr_int("training_mode", training)];
        g.node[1] = norm;
    })
}

/// Slice in the place of Relu, with starts of that shape.
fn sliced(shape: &[usize]) -> pb::ModelProto {
    changed(|g| {
        g.initializer.push(to_proto("starts", &Tensor::from_i64(shape, &[1])));
        g.initializer.extend([("ends", 3), ("axes", 1)].map(|(name, v)| to_proto(name, &Tensor::from_i64(&[1], &[v]))));
        g.node[1] = node("Slice", "part", &["c", "starts", "ends", "axes"], "r");
    })
}

fn cases() -> Vec<(&'static str, pb::ModelProto)> {
    let kernel = |n| attr_ints("kernel_shape", [n, n]);
    let integers = || to_proto("b", &Tensor::from_i64(&[3], &[1; 3]));
    vec![
        ("a value from two nodes", changed(|g| g.node[1].output[0] = "c".into())),
        ("a value from a node and the input", changed(|g| g.node[1].output[0] = "x".into())),
        ("a value from a node and an initializer", changed(|g| g.node[1].output[0] = "k".into())),
        ("an initializer twice", changed(|g| g.initializer.push(g.initializer[0].clone()))),
        ("the input twice", changed(|g| g.input.push(g.input[0].clone()))),
        ("an initializer without a name", changed(|g| g.initializer[0].name = None)),
        ("an input from nowhere", changed(|g| g.node[1].input[0] = "gone".into())),
        ("an output from nowhere", changed(|g| g.output[0].name = Some("gone".into()))),
        ("a circle", changed(|g| g.node[0].input[0] = "features".into())),
        ("its own result", changed(|g| g.node[1].input[0] = "r".into())),
        ("no inputs", changed(|g| g.node[2].input.clear())),
        ("an empty name for a required input", changed(|g| g.node[0].input[1].clear())),
        ("an input too many", changed(|g| g.node[1].input.push("x".into()))),
        ("no outputs", changed(|g| g.node.push(pb::NodeProto { output: vec![], ..node("Relu", "dead", &["x"], "") }))),
        ("an output too many", changed(|g| g.node[1].output.push("more".into()))),
        ("an output too many, without a name", changed(|g| g.node[1].output.push(String::new()))),
        ("an input too many, without a name", changed(|g| g.node[1].input.push(String::new()))),
        ("a weight of half precision among others", changed(|g| g.initializer[0] = half("k", &[3, 3, 3, 3]))),
        ("a bias of half precision among others", changed(|g| g.initializer[1] = half("b", &[3]))),
        ("half precision cast back for one of two", {
            changed(|g| {
                let mut cast = node("Cast", "cast", &["k"], "wide");
                cast.attribute = vec![attr_int("to", 1)];
                g.initializer[0] = half("k", &[3, 3, 3, 3]);
                g.initializer[1] = half("b", &[3]);
                g.node[0].input[1] = "wide".into();
                g.node.insert(0, cast);
            })
        }),
        ("an output declared as another type", declared(9)),
        ("an output declared as half precision", declared(10)),
        ("an output declared as text", declared(8)),
        ("normalization in training mode with one output", normalized(1, &["n"])),
        ("normalization in training mode with two outputs", normalized(1, &["n", "m"])),
        ("normalization in inference with three outputs", normalized(0, &["n", "m", "v"])),
        ("a share to drop for each channel", {
            changed(|g| {
                g.initializer.push(to_proto("share", &Tensor::from_f32(&[1], &[0.5])));
                g.node[1] = node("Dropout", "drop", &["c", "share"], "r");
            })
        }),
        ("bounds of two numbers", {
            changed(|g| {
                g.initializer.push(to_proto("low", &Tensor::from_f32(&[2], &[0.0, 0.5])));
                g.node[1] = node("Clip", "clip", &["c", "low"], "r");
            })
        }),
        ("a value declared as another type", {
            changed(|g| g.value_info.push(pb::ValueInfoProto { name: Some("r".into()), ..declared(9).graph.unwrap().output[0].clone() }))
        }),
        ("padding of two kinds", with(0, &[attr_string("auto_pad", "SAME_UPPER"), attr_ints("pads", [1; 4])])),
        ("starts with two dimensions", sliced(&[1, 1])),
        ("starts without dimensions", sliced(&[])),
        ("axes with two dimensions", {
            changed(|g| {
                g.initializer.push(to_proto("axes", &Tensor::from_i64(&[1, 1], &[0])));
                let (mut more, mut less) = (node("Unsqueeze", "more", &["c", "axes"], "u"), node("Squeeze", "less", &["u", "axes"], "r"));
                (more.name, less.name) = (Some("more".into()), Some("less".into()));
                g.node[1] = more;
                g.node.insert(2, less);
            })
        }),
        ("an operator that ONNX does not have", changed(|g| g.node[1].op_type = Some("BatchNormTrain".into()))),
        ("an operator of a later opset", {
            let mut model = changed(|g| g.node[1].op_type = Some("HardSwish".into()));
            model.opset_import[0].version = Some(13);
            model
        }),
        ("an attribute that the operator does not have", changed(|g| g.node[1].attribute.push(attr_float("alpha", 1.0)))),
        ("an attribute of another type", with(2, &[attr_ints("ceil_mode", [0]), kernel(2)])),
        ("an attribute of another type, unused", with(2, &[attr_string("storage_order", "rows"), kernel(2)])),
        ("an attribute twice", with(2, &[kernel(2), kernel(2)])),
        ("a required attribute is missing", with(2, &[])),
        ("too few strides", with(2, &[kernel(2), attr_ints("strides", [1])])),
        ("too many pads", with(0, &[attr_ints("pads", [1; 5])])),
        ("too many dilations", with(0, &[attr_ints("dilations", [1; 3])])),
        ("another kernel than the weight has", with(0, &[kernel(5)])),
        ("a group at the end of the numbers", with(0, &[attr_int("group", i64::MAX)])),
        ("a group larger than the channels", with(0, &[attr_int("group", 65536)])),
        ("a group that does not divide", with(0, &[attr_int("group", 2)])),
        ("a stride at the end of the numbers", with(0, &[attr_ints("strides", [i64::MIN, 1])])),
        ("pads at the end of the numbers", with(2, &[kernel(2), attr_ints("pads", [i64::MAX; 4])])),
        ("windows far larger than the image", with(2, &[kernel(30000), attr_ints("pads", [29999; 4])])),
        ("a bias of another length", changed(|g| g.initializer[1] = to_proto("b", &Tensor::from_f32(&[4], &[0.1; 4])))),
        ("a bias of integers", changed(|g| g.initializer[1] = integers())),
        ("a bias of another precision", changed(|g| g.initializer[1] = to_proto("b", &Tensor::from_f64(&[3], &[1.0; 3])))),
        ("impossible sizes of a weight", changed(|g| g.initializer[0].dims = vec![1 << 62, 3, 3, 3])),
        ("other ranks to join", {
            changed(|g| {
                g.node[1] = node("Concat", "join", &["c", "b"], "r");
                g.node[1].attribute = vec![attr_int("axis", 1)];
            })
        }),
        ("opset 6", opset(6)),
        ("opset 27", opset(27)),
        ("an optimised graph", changed(|g| g.node[1].domain = Some("com.microsoft.nchwc".into()))),
        ("an optimised graph, fused", changed(|g| g.node[1].op_type = Some("FusedConv".into()))),
    ]
}

#[test]
fn what_onnx_does_not_allow_is_refused_by_name() {
    let lab = Lab::new();
    onnx::write(lab.path("valid.onnx"), &valid()).unwrap();
    lab.run(&["rewrite", "valid.onnx", "-o", "bundle"]).ok();
    let mut text = String::new();
    for (label, model) in cases() {
        std::fs::remove_file(lab.path("m.onnx")).ok();
        onnx::write(lab.path("m.onnx"), &model).unwrap();
        let error = lab.refuses(&["rewrite", "m.onnx", "-o", "invalid"], 1, &[]);
        let line = error.lines().find(|l| l.starts_with("  ")).unwrap_or(&error).trim();
        text.push_str(&format!("{label}: {line}\n"));
        lab.run(&["inspect", "m.onnx"]);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn constants_that_grow_without_bounds_are_not_computed_ahead() {
    let lab = Lab::new();
    let twice = |from: usize| {
        let mut node = node("Concat", &format!("twice{from}"), &[&format!("t{from}"), &format!("t{from}")], &format!("t{}", from + 1));
        node.attribute = vec![attr_int("axis", 0)];
        node
    };
    let reduce = |from: &str| {
        let mut cast = node("Cast", "cast", &[from], "cast_y");
        cast.attribute = vec![attr_int("to", 1)];
        let mut mean = node("ReduceMean", "mean", &["cast_y"], "mean_y");
        mean.attribute = vec![attr_int("keepdims", 0)];
        vec![cast, mean, node("Add", "add", &["x", "mean_y"], "features")]
    };
    let list = |values: &[i64]| to_proto("t0", &Tensor::from_i64(&[values.len()], values));
    let mut fill = node("ConstantOfShape", "fill", &["t0"], "t1");
    fill.attribute = vec![pb::AttributeProto {
        name: Some("value".into()),
        r#type: Some(4),
        t: Some(to_proto("v", &Tensor::from_i64(&[1], &[1]))),
        ..Default::default()
    }];
    let one = to_proto("one", &Tensor::from_i64(&[1], &[1]));
    let scalars = |limit| [("from", 0), ("to", limit), ("by", 1)].map(|(n, v)| to_proto(n, &Tensor::from_i64(&[], &[v]))).to_vec();
    for (name, nodes, constants) in [
        ("twice", (0..60).map(twice).chain(reduce("t60")).collect(), vec![list(&[1, 2])]),
        ("fill", [vec![fill], reduce("t1")].concat(), vec![list(&[1 << 20, 1 << 20])]),
        ("expand", [vec![node("Expand", "expand", &["one", "t0"], "t1")], reduce("t1")].concat(), vec![one.clone(), list(&[1 << 25])]),
        ("tile", [vec![node("Tile", "tile", &["one", "t0"], "t1")], reduce("t1")].concat(), vec![one, list(&[1 << 25])]),
        ("range", [vec![node("Range", "range", &["from", "to", "by"], "t1")], reduce("t1")].concat(), scalars(1 << 26)),
    ] {
        let path = format!("{name}.onnx");
        onnx::write(lab.path(&path), &classifier(nodes, constants)).unwrap();
        let error = lab.refuses(&["rewrite", &path, "-o", "invalid"], 1, &["node `"]);
        assert!(error.contains("too large to be computed ahead") || error.contains("more elements than"), "{name}: {error}");
    }
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let lab = Lab::new();
    // The chain has one order only, so all graphs are the same.
    onnx::write(lab.path("valid.onnx"), &valid()).unwrap();
    onnx::write(lab.path("reversed.onnx"), &changed(|g| g.node.reverse())).unwrap();
    lab.run(&["rewrite", "valid.onnx", "-o", "one"]).ok();
    lab.run(&["rewrite", "reversed.onnx", "-o", "other"]).ok();
    for graph in ["init", "eval", "template"] {
        let read = |bundle: &str| std::fs::read(lab.path(&format!("{bundle}/{graph}.onnx"))).unwrap();
        assert!(read("one") == read("other"), "{graph}");
    }
    let steps = ["one", "other"].map(|b| onnx::open(lab.path(&format!("{b}/step.onnx"))).unwrap().proto.graph);
    assert!(steps[0] == steps[1]);
}
