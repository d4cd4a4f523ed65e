//! Dropout from the command line: what is said of it, what is asked for, and what cannot be had.

use crate::models::{classifier, node};
use crate::support::{Lab, fixture, shared};
use spgraph::error::Error;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::attributes::{attr_float, attr_int, attr_ints};
use spgraph::onnx::{self, pb, to_proto};
use spgraph::storage::tensor_file;

/// `Conv → Dropout → MaxPool`; what the Dropout reads besides, and constants for that.
fn model(inputs: &[&str], constants: &[(&str, Tensor)], change: impl Fn(&mut pb::GraphProto)) -> pb::ModelProto {
    let mut conv = node("Conv", "conv", &["x", "k", "b"], "c");
    conv.attribute = vec![attr_ints("pads", [1, 1, 1, 1]), attr_ints("strides", [1, 1])];
    let mut pool = node("MaxPool", "max", &["d"], "features");
    pool.attribute = vec![attr_ints("kernel_shape", [2, 2]), attr_ints("strides", [2, 2])];
    let mut weights = vec![to_proto("k", &Tensor::from_f32(&[3, 3, 3, 3], &[0.1; 81])), to_proto("b", &Tensor::from_f32(&[3], &[0.1; 3]))];
    weights.extend(constants.iter().map(|(name, tensor)| to_proto(*name, tensor)));
    let drop = node("Dropout", "drop", &[&["c"][..], inputs].concat(), "d");
    let mut model = classifier(vec![conv, drop, pool], weights);
    model.graph.iter_mut().for_each(change);
    model
}

fn share(value: f32) -> (&'static str, Tensor) {
    ("share", Tensor::from_f32(&[], &[value]))
}

fn written(lab: &Lab, name: &str, model: pb::ModelProto) -> String {
    let path = lab.path(name);
    onnx::write(&path, &model).unwrap();
    path.display().to_string()
}

fn said(lab: &Lab, model: &str, mode: &[&str]) -> Option<String> {
    let out = lab.run(&[&["rewrite", model, "--batch", "2", "--force", "-o", "b"], mode].concat()).ok();
    out.lines().find_map(|line| line.strip_prefix("dropout     ").map(String::from))
}

#[test]
fn what_the_file_drops_is_said_and_how_to_keep_it() {
    let lab = Lab::new();
    let quarter = written(&lab, "quarter.onnx", model(&["share"], &[share(0.25)], |_| {}));
    let off = said(&lab, &quarter, &[]).unwrap();
    assert!(off.contains("off: 1 node that drops 0.25") && off.contains("--dropout keep"), "{off}");
    let kept = said(&lab, &quarter, &["--dropout", "keep"]).unwrap();
    assert!(kept.starts_with("1 node drops 0.25") && kept.contains("seed"), "{kept}");
    let before = said(&lab, &quarter, &["--dropout", "0.1"]).unwrap();
    assert!(before.starts_with("0.1 of what enters the classifier") && before.contains("1 node of the file does nothing"), "{before}");
    let half = written(&lab, "half.onnx", model(&[], &[], |_| {}));
    assert!(said(&lab, &half, &[]).unwrap().contains("drops 0.5"), "ONNX's default");
    let two = said(&lab, &fixture("dropout.onnx"), &["--classes", "3"]).unwrap();
    assert!(two.contains("2 nodes that drop 0.5"), "{two}");
    let inspected = lab.run(&["inspect", &fixture("dropout.onnx")]).ok();
    assert!(inspected.contains("dropout     0.5, 0.5 in training, with --dropout keep"), "{inspected}");
    assert_eq!(lab.run(&["inspect", &fixture("dropout.onnx"), "--json"]).json()["dropout"], serde_json::json!([0.5, 0.5]));
    assert_eq!(said(&lab, &shared().model, &[]), None);
    assert!(said(&lab, &shared().model, &["--dropout", "0.2"]).unwrap().starts_with("0.2 of"));
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_way_out() {
    let (lab, s) = (Lab::new(), shared());
    let refused = |model: &str, mode: &str, code: i32, parts: &[&str]| {
        lab.refuses(&["rewrite", model, "-o", "b", "--batch", "2", "--dropout", mode], code, parts);
        assert!(!lab.path("b").exists());
    };
    refused(&s.model, "keep", 2, &["--dropout keep", "no Dropout", "training mode", "0.2"]);
    for (wrong, why) in [("1", "from 0 to below 1"), ("-0.5", "from 0 to below 1"), ("kept", "off, keep, or the share")] {
        let said = lab.run(&["rewrite", &s.model, "-o", "b", "--dropout", wrong]);
        assert!(said.code == 2 && said.err.contains(why) && said.err.contains("--dropout"), "{said:?}");
    }
    // How much is a number that the network computes of its images.
    let computed = model(&["share"], &[], |g| {
        let mut mean = node("ReduceMean", "mean", &["c"], "share");
        mean.attribute = vec![attr_int("keepdims", 0)];
        g.node.insert(1, mean);
    });
    let computed = written(&lab, "computed.onnx", computed);
    refused(&computed, "keep", 1, &["drop", "computed while the model runs", "constant"]);
    assert!(said(&lab, &computed, &[]).unwrap().contains("a share that is computed"), "it does nothing otherwise");
    for wrong in [1.0, -0.5, f32::NAN] {
        let file = written(&lab, "wrong.onnx", model(&["share"], &[share(wrong)], |_| {}));
        lab.refuses(&["rewrite", &file, "-o", "c"], 1, &["drop", "between 0 and 1"]);
    }
    let switched = model(&["share", "switch"], &[share(0.5)], |g| {
        let mut mean = node("ReduceMean", "mean", &["c"], "m");
        mean.attribute = vec![attr_int("keepdims", 0)];
        g.node.insert(1, mean);
        g.node.insert(2, node("Greater", "greater", &["m", "share"], "switch"));
    });
    lab.refuses(&["rewrite", &written(&lab, "switched.onnx", switched), "-o", "c", "--dropout", "keep"], 1, &["drop", "whether it drops"]);
    let masked = model(&["share"], &[share(0.5)], |g| {
        g.node[1].output.push("mask".into());
        g.node.insert(2, node("Not", "not", &["mask"], "other"));
        let mut cast = node("Cast", "cast", &["other"], "number");
        cast.attribute = vec![attr_int("to", 1)];
        g.node.insert(3, cast);
        g.node.insert(4, node("Add", "add", &["d", "number"], "e"));
        g.node[5].input[0] = "e".into();
    });
    lab.refuses(&["rewrite", &written(&lab, "masked.onnx", masked), "-o", "c", "--dropout", "keep"], 1, &["not", "mask"]);
}

#[test]
fn older_files_say_it_with_an_attribute() {
    let lab = Lab::new();
    let mut old = model(&[], &[], |g| g.node[1].attribute = vec![attr_float("ratio", 0.125)]);
    old.opset_import[0].version = Some(10);
    let old = written(&lab, "old.onnx", old);
    assert!(said(&lab, &old, &["--dropout", "keep"]).unwrap().starts_with("1 node drops 0.125"));
}

#[test]
fn artifacts_that_cannot_count_in_integers_are_refused() {
    let lab = Lab::new();
    for optimizer in ["sgd", "adamw"] {
        let args = ["rewrite", &shared().model, "-o", "b", "--dropout", "0.2", "--artifact", "ort-training", "--optimizer", optimizer];
        lab.refuses(&args, 2, &["training API", "dropout", "int64"]);
    }
    for (kind, file) in [("single", "b1"), ("training-info", "b2"), ("native", "b3")] {
        lab.run(&["rewrite", &shared().model, "-o", file, "--dropout", "0.2", "--artifact", kind]).ok();
    }
}

#[test]
fn the_head_alone_and_then_everything() {
    let (lab, s) = (Lab::new(), shared());
    let options = ["--dropout", "0.3", "--batch", "4", "--steps", "6", "--head-first", "3", "--engine", "tract", "--log", "none"];
    lab.run(&[&["finetune", &s.model, "--data", &s.images, "-o", "run"][..], &options].concat()).ok();
    let (_, tensors) = tensor_file::read_plain(&lab.path("run/optimizer.safetensors"), Error::data).unwrap();
    assert_eq!(tensors["optimizer.dropout"].to_i64().unwrap(), [0, 6], "masks go on through both phases");
}

fn boolean(value: u8) -> Tensor {
    Tensor::new(DType::Bool, vec![], vec![value]).unwrap()
}

#[test]
fn a_model_in_training_mode_is_not_judged_by_itself() {
    let (lab, s) = (Lab::new(), shared());
    let dropped = model(&["share", "on"], &[share(0.5), ("on", boolean(1))], |_| {});
    let dropped = written(&lab, "dropped.onnx", dropped);
    let drawn = fixture("noise/paths.script_batch.onnx");
    for (file, why) in [(&dropped, "Dropout"), (&drawn, "RandomUniformLike")] {
        for args in [vec!["eval", file, "--data", &s.images], vec!["predict", file, &s.images]] {
            lab.refuses(&args, 1, &["computes as in training", why, "other numbers each time", "--head keep", "model.eval()"]);
        }
    }
    let off = model(&["share", "off"], &[share(0.5), ("off", boolean(0))], |_| {});
    let said = lab.run(&["predict", &written(&lab, "off.onnx", off), &s.images]);
    assert!(!said.err.contains("as in training"), "{said:?}");
    // The way out.
    lab.run(&["rewrite", &drawn, "--head", "keep", "-o", "bundle"]).ok();
    let said = lab.run(&["predict", "bundle", &s.images]);
    assert!(!said.err.contains("as in training"), "{said:?}");
}

/// The same model with a BatchNormalization in the place of the Dropout.
fn normalized(version: i64, outputs: &[&str], attributes: Vec<pb::AttributeProto>) -> pb::ModelProto {
    let numbers = ["s", "t", "m", "v"].map(|name| (name, Tensor::from_f32(&[3], &[1.0; 3])));
    let mut model = model(&[], &numbers, |g| {
        g.node[1] = node("BatchNormalization", "norm", &["c", "s", "t", "m", "v"], "d");
        g.node[1].output.extend(outputs.iter().map(|o| o.to_string()));
        g.node[1].attribute = attributes.clone();
    });
    model.opset_import[0].version = Some(version);
    model
}

#[test]
fn batch_statistics_are_told_by_any_opset() {
    let (lab, s) = (Lab::new(), shared());
    let old = normalized(12, &["m1", "v1", "m2", "v2"], vec![]);
    let new = normalized(15, &["m1", "v1"], vec![attr_int("training_mode", 1)]);
    for (name, model) in [("old.onnx", old), ("new.onnx", new)] {
        lab.refuses(
            &["predict", &written(&lab, name, model), &s.images],
            1,
            &["computes as in training", "BatchNormalization", "together"],
        );
    }
    for (name, version) in [("old-eval.onnx", 12), ("new-eval.onnx", 15)] {
        let said = lab.run(&["predict", &written(&lab, name, normalized(version, &[], vec![])), &s.images]);
        assert!(!said.err.contains("as in training"), "{said:?}");
    }
    // Weights are standardized in inference as well.
    let said = lab.run(&["predict", &fixture("slice/test_nfnet.onnx"), &s.images]);
    assert!(!said.err.contains("as in training"), "{said:?}");
}

#[test]
fn training_is_found_within_functions_and_branches() {
    let (lab, s) = (Lab::new(), shared());
    let on = || to_proto("on", &Tensor::new(DType::Bool, vec![], vec![1]).unwrap());
    let mut called = model(&[], &[share(0.5)], |g| {
        g.initializer.push(on());
        g.node[1] = node("Drop", "drop", &["c", "share", "on"], "d");
        g.node[1].domain = Some("own".into());
    });
    called.functions.push(pb::FunctionProto {
        name: Some("Drop".into()),
        domain: Some("own".into()),
        input: ["x", "share", "on"].map(String::from).to_vec(),
        output: vec!["y".into()],
        node: vec![node("Dropout", "inner", &["x", "share", "on"], "y")],
        opset_import: called.opset_import.clone(),
        ..Default::default()
    });
    called.opset_import.push(pb::OperatorSetIdProto { domain: Some("own".into()), version: Some(1) });
    let branch = |op: &str, name: &str| pb::GraphProto {
        name: Some(name.into()),
        node: vec![node(op, &format!("{name}_node"), &["c"], name)],
        output: vec![pb::ValueInfoProto { name: Some(name.into()), ..Default::default() }],
        ..Default::default()
    };
    let chosen = model(&[], &[], |g| {
        g.initializer.push(on());
        g.node[1] = node("If", "choice", &["on"], "d");
        let attribute = |name: &str, g: pb::GraphProto| pb::AttributeProto {
            name: Some(name.into()),
            r#type: Some(pb::attribute_proto::AttributeType::Graph as i32),
            g: Some(g),
            ..Default::default()
        };
        g.node[1].attribute =
            vec![attribute("then_branch", branch("RandomUniformLike", "a")), attribute("else_branch", branch("Identity", "b"))];
    });
    for (name, model, op) in [("called.onnx", called, "Dropout"), ("chosen.onnx", chosen, "RandomUniformLike")] {
        lab.refuses(&["predict", &written(&lab, name, model), &s.images], 1, &["computes as in training", op]);
    }
}

#[test]
fn a_switch_that_is_off_is_found_behind_casts() {
    let (lab, s) = (Lab::new(), shared());
    let off = model(&["share", "switch"], &[share(0.5), ("zero", Tensor::from_i64(&[], &[0]))], |g| {
        let mut cast = node("Cast", "cast", &["zero"], "bit");
        cast.attribute = vec![attr_int("to", 9)];
        g.node.splice(0..0, [cast, node("Identity", "same", &["bit"], "switch")]);
    });
    let none = model(&["share", "on"], &[share(0.0), ("on", boolean(1))], |_| {});
    for (name, model) in [("off.onnx", off), ("none.onnx", none)] {
        let said = lab.run(&["predict", &written(&lab, name, model), &s.images]);
        assert!(!said.err.contains("as in training"), "{said:?}");
    }
}
