//! `rewrite` by its defaults, and `export` straight after it.

use crate::support::{Lab, fixture, names, shared};
use spgraph::onnx::{self, SourceModel};

#[test]
fn the_model_alone_is_enough_and_the_defaults_are_printed() {
    let lab = Lab::new();
    std::fs::copy(&shared().model, lab.path("my.net.onnx")).unwrap();
    let text = lab.run(&["rewrite", "my.net.onnx"]).ok();
    for part in [
        "input       input float32 32x3x16x16",
        "images      --resize 16 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        "head        kept, 3 classes",
        "parameters  65 shared, 0 new, 0 frozen",
        "batch norm  train",
        "penalty     l2-sp alpha 0.1, beta 0.01, on 22 tensors",
        "optimizer   sgd, momentum 0.9, lr 0.01",
        "wrote       my.net.spgraph",
        "spgraph finetune my.net.spgraph --data FOLDER",
    ] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    assert_eq!(names(lab.0.path()), ["my.net.onnx", "my.net.spgraph"]);
    assert_eq!(names(&lab.path("my.net.spgraph")), ["eval.onnx", "init.onnx", "manifest.json", "step.onnx", "template.onnx"]);
    let text = lab.run(&["rewrite", "my.net.onnx", "--split", "--external-data", "--classes", "7", "-o", "deep/b"]).ok();
    assert!(text.contains("head        new, 7 classes") && text.contains("2 new"), "{text}");
    let expected = ["apply.onnx", "eval.onnx", "grad.onnx", "init.onnx", "manifest.json", "step.onnx", "template.onnx", "weights.bin"];
    assert_eq!(names(&lab.path("deep/b")), expected);
}

/// Every constant of both models, bit for bit, but for those of `replaced`.
fn same_tensors(a: &SourceModel, b: &SourceModel, replaced: &[&str]) {
    let (x, y) = (a.graph().unwrap(), b.graph().unwrap());
    let values = |m: &SourceModel| {
        let constants = m.graph().unwrap().node.iter().filter(|n| n.op_type() == "Constant");
        let constants = constants.filter_map(|n| Some((n.output[0].clone(), n.attribute.iter().find_map(|a| a.t.clone())?)));
        let all = m.graph().unwrap().initializer.iter().map(|t| (t.name().to_string(), t.clone())).chain(constants);
        all.map(|(name, t)| (name, m.tensor(&t).unwrap())).collect::<Vec<_>>()
    };
    let (left, right) = (values(a), values(b));
    assert!(!left.is_empty());
    assert_eq!(left.iter().map(|v| &v.0).collect::<Vec<_>>(), right.iter().map(|v| &v.0).collect::<Vec<_>>());
    for ((name, l), (_, r)) in left.iter().zip(&right).filter(|(l, _)| !replaced.contains(&l.0.as_str())) {
        assert!(l.dtype() == r.dtype() && l.shape() == r.shape() && l.bytes() == r.bytes(), "{name} differs");
    }
    let shape = |n: &onnx::pb::NodeProto| (n.op_type.clone(), n.name.clone(), n.input.clone(), n.output.clone());
    assert_eq!(x.node.iter().map(shape).collect::<Vec<_>>(), y.node.iter().map(shape).collect::<Vec<_>>());
}

#[test]
fn export_without_training_gives_the_source_back() {
    let lab = Lab::new();
    // Live and folded BatchNorm, shared initializers, Constant nodes, initializers as inputs, external data, float64.
    for name in ["basic.bn", "basic", "identity.bn", "shared.bn", "constants", "inputs", "external", "float64.bn", "bottleneck.dynamo"] {
        let (source, bundle, back) = (fixture(&format!("{name}.onnx")), format!("{name}.b"), format!("{name}.back.onnx"));
        lab.run(&["rewrite", &source, "-o", &bundle]).ok();
        lab.run(&["export", &bundle, "-o", &back]).ok();
        same_tensors(&onnx::read(&source).unwrap(), &onnx::read(lab.path(&back)).unwrap(), &[]);
    }
}

#[test]
fn export_with_a_new_head_changes_nothing_else() {
    let lab = Lab::new();
    lab.run(&["rewrite", &shared().model, "--classes", "7", "-o", "b"]).ok();
    lab.run(&["export", "b", "-o", "back.onnx"]).ok();
    let (source, back) = (onnx::read(&shared().model).unwrap(), onnx::read(lab.path("back.onnx")).unwrap());
    same_tensors(&source, &back, &["fc.weight", "fc.bias"]);
    let head = back.graph().unwrap().initializer.iter().find(|t| t.name() == "fc.weight").unwrap();
    assert_eq!(head.dims, [7, 64]);
    let json = lab.run(&["inspect", "back.onnx", "--json"]).json();
    assert_eq!((&json["head"]["classes"], &json["outputs"][0]["shape"]), (&7.into(), &"[N, 7]".into()));
}

#[test]
fn a_bundle_is_made_again_from_its_manifest() {
    let lab = Lab::new();
    let options = [
        "--penalty",
        "l2-sp",
        "--classes",
        "4",
        "--alpha",
        "0.3",
        "--alpha",
        "layer1.*=0.7",
        "--regularizer",
        "delta=0.1",
        "--optimizer",
        "adamw",
        "--split",
    ];
    lab.run(&[&["rewrite", &shared().model, "-o", "first"], &options[..]].concat()).ok();
    lab.run(&["rewrite", &shared().model, "--from-manifest", "first/manifest.json", "-o", "second"]).ok();
    assert_eq!(names(&lab.path("first")), names(&lab.path("second")));
    for name in names(&lab.path("first")) {
        let read = |dir: &str| std::fs::read(lab.path(dir).join(&name)).unwrap();
        assert!(read("first") == read("second"), "{name}");
    }
    let again = ["rewrite", &shared().model, "--from-manifest", "first/manifest.json", "-o", "third"];
    lab.refuses(&[&again[..], &["--alpha", "1"]].concat(), 2, &["--from-manifest", "leave the others away"]);
    let other = fixture("basic.onnx");
    lab.refuses(
        &["rewrite", &other, "--from-manifest", "first/manifest.json", "-o", "third"],
        1,
        &["is not the file that the bundle was made from"],
    );
}
