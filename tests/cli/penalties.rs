//! Penalties, regularizers, freezing and heads: what the command line refuses, with the reason, and leaves as it was.

use crate::models::{classifier, node};
use crate::support::{Lab, fixture, names, shared, unsealed};
use prost::Message;

fn rewrite(lab: &Lab, model: &str, more: &[&str], code: i32, parts: &[&str]) {
    lab.refuses(&[&["rewrite", model, "-o", "b"], more].concat(), code, parts);
}

#[test]
fn patterns_that_match_nothing_are_named() {
    let (lab, model) = (Lab::new(), fixture("resnet18.bn.onnx"));
    for option in ["--penalize", "--sp-exclude", "--freeze", "--train"] {
        rewrite(
            &lab,
            &model,
            &[option, "no.such.*"],
            2,
            &[&format!("{option} 'no.such.*' matches no parameter"), "conv1.weight", "spgraph inspect"],
        );
    }
    rewrite(&lab, &model, &["--alpha", "no.such.*=1"], 2, &["--alpha 'no.such.*' matches no parameter"]);
    rewrite(&lab, &model, &["--lr-mult", "no.such.*=1"], 2, &["--lr-mult 'no.such.*' matches no parameter"]);
    rewrite(
        &lab,
        &model,
        &["--regularizer", "delta", "--delta-layers", "no.such.*"],
        2,
        &["--delta-layers 'no.such.*' matches no parameter"],
    );
}

#[test]
fn what_is_frozen_has_no_strength_and_something_must_be_trained() {
    let (lab, model) = (Lab::new(), fixture("resnet18.bn.onnx"));
    rewrite(
        &lab,
        &model,
        &["--freeze", "layer1.0.*", "--alpha", "layer1.*=0.1"],
        2,
        &["gives a strength to what is frozen: layer1.0.conv1.weight"],
    );
    rewrite(
        &lab,
        &model,
        &["--freeze-stages", "2", "--penalize", "conv1.*"],
        2,
        &["--penalize 'conv1.*' matches only what is not trained"],
    );
    rewrite(
        &lab,
        &model,
        &["--freeze", "fc.*", "--lr-mult", "fc.*=10"],
        2,
        &["matches nothing that is trained: fc.weight, fc.bias is frozen"],
    );
    rewrite(&lab, &model, &["--freeze", "*"], 2, &["every parameter is frozen"]);
    rewrite(&lab, &model, &["--freeze-stages", "6"], 2, &["--freeze-stages 6: the network has 5"]);
    rewrite(&lab, &model, &["--freeze-units", "10"], 2, &["--freeze-units 10: the network has 9"]);
    rewrite(&lab, &model, &["--regularizer", "delta", "--freeze-stages", "5"], 2, &["delta has nothing to do"]);
}

#[test]
fn strengths_are_numbers_from_0_on() {
    let (lab, model) = (Lab::new(), shared().model.as_str());
    for value in ["-0.1", "nan", "inf"] {
        rewrite(&lab, model, &["--alpha", value], 2, &["--alpha", "no strength"]);
        rewrite(&lab, model, &["--beta", value], 2, &["--beta", "no strength"]);
        rewrite(&lab, model, &["--alpha", &format!("conv1.*={value}")], 2, &["'conv1.*=", "no strength"]);
        rewrite(&lab, model, &["--regularizer", &format!("delta={value}")], 2, &["--regularizer delta=", "no strength"]);
        rewrite(&lab, model, &["--alpha-depth", value], 2, &["--alpha-depth", "no positive number"]);
    }
    let train = ["finetune", &shared().bundle, "-o", "r", "--data", &shared().images, "--steps", "1", "--engine", "tract"];
    lab.refuses(&[&train[..], &["--regularizer", "lwf=1"]].concat(), 2, &["--regularizer lwf=1: the bundle has no lwf"]);
    lab.refuses(&[&train[..], &["--regularizer", "lwf"]].concat(), 2, &["--regularizer lwf: give its strength"]);
    lab.refuses(&[&train[..], &["--regularizer", "gamma=1"]].concat(), 2, &["no regularizer `gamma`"]);
}

#[test]
fn settings_belong_to_their_regularizer() {
    let (lab, model) = (Lab::new(), shared().model.as_str());
    let without = |more: &[&str], kind: &str| {
        rewrite(&lab, model, more, 2, &[&format!("{} has no meaning without --regularizer {kind}", more[more.len() - 2])]);
    };
    without(&["--regularizer", "bss", "--delta-layers", "*"], "delta");
    without(&["--attention", "a"], "delta");
    without(&["--regularizer", "delta", "--temperature", "2"], "lwf");
    without(&["--regularizer", "delta", "--bss-k", "2"], "bss");
    rewrite(&lab, model, &["--regularizer", "lwf", "--temperature", "0"], 2, &["--temperature 0 is no positive number"]);
    rewrite(&lab, model, &["--regularizer", "bss", "--bss-k", "0"], 2, &["--bss-k 0 makes no sense"]);
}

#[test]
fn steps_that_a_penalty_does_not_have_are_refused() {
    let (lab, model) = (Lab::new(), shared().model.as_str());
    rewrite(
        &lab,
        model,
        &["--penalty", "gl-sp-fisher", "--prox"],
        2,
        &["gl-sp-fisher has no --prox", "no closed form", "Take gl-sp with --prox"],
    );
    rewrite(&lab, model, &["--penalty", "l2-sp", "--prox"], 2, &["l2-sp has no --prox: it is smooth", "--decoupled"]);
    rewrite(&lab, model, &["--penalty", "l1-sp", "--decoupled"], 2, &["--decoupled is for quadratic penalties"]);
    rewrite(&lab, model, &["--penalty", "none", "--beta", "1"], 2, &["--beta has no meaning with --penalty none"]);
}

/// A file of `spgraph fisher` with something wrong.
#[test]
fn a_fisher_file_that_cannot_be_right_is_refused() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["fisher", &s.model, "--data", &s.images, "--samples", "2", "--engine", "ort", "-o", "f.safetensors"]).ok();
    let good = unsealed(&std::fs::read(lab.path("f.safetensors")).unwrap());
    let with = |file: &str, parts: &[&str]| rewrite(&lab, &s.model, &["--penalty", "l2-sp-fisher", "--fisher", file], 1, parts);
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for (name, value, words) in [
        ("negative", -1.0f32, "(the first is -1)"),
        ("none", f32::NAN, "(the first is NaN)"),
        ("endless", f32::INFINITY, "(the first is inf)"),
    ] {
        let mut bad = good.clone();
        bad[8 + header..12 + header].copy_from_slice(&value.to_le_bytes());
        let file = format!("{name}.safetensors");
        lab.write(&file, bad);
        with(&file, &[&file, "1 of the", words]);
    }
    lab.write("cut.safetensors", &good[..good.len() / 2]);
    with("cut.safetensors", &["cut.safetensors", "damaged"]);
    lab.run(&["new", "resnet20", "--classes", "3", "--input", "3x16x16", "--seed", "7", "-o", "other.onnx"]).ok();
    rewrite(
        &lab,
        "other.onnx",
        &["--penalty", "l2-sp-fisher", "--fisher", "f.safetensors"],
        1,
        &["it is of another model (SHA-256", "spgraph fisher"],
    );
    lab.run(&["rewrite", &s.model, "--penalty", "l2-sp-fisher", "--fisher", "f.safetensors", "-o", "b"]).ok();
}

#[test]
fn a_head_that_cannot_be_found_is_refused_with_the_nodes_that_were_looked_at() {
    let lab = Lab::new();
    let mut model = classifier(vec![node("Relu", "relu", &["x"], "features")], vec![]);
    // A hyperbolic tangent between classifier and output: no logits stand before it.
    let graph = model.graph.as_mut().unwrap();
    graph.node.last_mut().unwrap().output = vec!["logits".into()];
    graph.node.push(node("Tanh", "squash", &["logits"], "y"));
    lab.write("tanh.onnx", model.encode_to_vec());
    for more in [&["--classes", "4"][..], &["--regularizer", "bss", "--batch", "2"]] {
        rewrite(&lab, "tanh.onnx", more, 1, &["no classifier was found", "looked at Tanh `squash`", "Gemm, MatMul or 1×1 Conv"]);
    }
    rewrite(&lab, "tanh.onnx", &["--regularizer", "delta"], 2, &["no residual units", "--delta-layers PATTERN"]);
}

/// From a trained head over the attention of its filters to a run with DELTA.
#[test]
fn attention_is_measured_on_a_run_and_read_by_delta() {
    let lab = Lab::new();
    let s = shared();
    let measure = ["attention", &s.run, "--data", &s.images, "--images", "8", "--batch", "8", "--engine", "ort"];
    let text = lab.run(&[&measure[..], &["-o", "a.safetensors"]].concat()).ok();
    for part in ["layer1.2.conv2.weight", "layer3.2.conv2.weight", "on 8 images", "wrote   a.safetensors"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    lab.run(&[&measure[..], &["-o", "again.safetensors"]].concat()).ok();
    assert!(std::fs::read(lab.path("a.safetensors")).unwrap() == std::fs::read(lab.path("again.safetensors")).unwrap());
    let delta = ["--regularizer", "delta=0.1", "--attention", "a.safetensors", "--batch", "4", "--classes", "3"];
    let text = lab.run(&[&["rewrite", &s.model, "-o", "d"], &delta[..]].concat()).ok();
    assert!(text.contains("delta 0.1, with attention, on layer1.2.conv2.weight, layer2.2.conv2.weight, layer3.2.conv2.weight"), "{text}");
    lab.run(&["finetune", "d", "--data", &s.images, "--steps", "2", "--engine", "tract", "--regularizer", "delta=0.2", "-o", "r"]).ok();
    lab.run(&["export", "r", "-o", "tuned.onnx"]).ok();

    lab.refuses(&[&measure[..], &["-o", "a.safetensors"]].concat(), 2, &["a.safetensors", "--force"]);
    lab.refuses(&["attention", &s.bundle, "--data", &s.images, "-o", "x"], 2, &["is no run of `spgraph finetune`", "--train 'fc.*'"]);
    lab.refuses(&["attention", &s.run, "--data", "nowhere", "-o", "x"], 1, &["nowhere does not exist"]);
    std::fs::copy(format!("{}/cells/cells-s0-00000.png", s.images), lab.path("one.png")).unwrap();
    lab.write("list.csv", "image,label\none.png,cells\n");
    lab.refuses(&["attention", &s.run, "--data", "list.csv", "--force", "-o", "one.png"], 2, &["one.png", "is read"]);
    lab.refuses(&[&measure[..7], &["0", "-o", "x"]].concat(), 2, &["--batch 0"]);
    lab.refuses(&[&measure[..], &["--delta-layers", "*.bias", "-o", "x"]].concat(), 2, &["matches no weight"]);
    lab.run(&["new", "resnet20", "--classes", "3", "--input", "3x16x16", "--seed", "7", "-o", "other.onnx"]).ok();
    let other = [&["rewrite", "other.onnx", "-o", "b"], &delta[..]].concat();
    lab.refuses(&other, 1, &["a.safetensors", "it is of another model (SHA-256"]);
    let fewer = ["--delta-layers", "layer1.0.conv1.weight"];
    lab.refuses(&[&["rewrite", &s.model, "-o", "b"], &delta[..], &fewer].concat(), 1, &["it lacks layer1.0.conv1.weight"]);
    lab.write("text.safetensors", "hello");
    rewrite(&lab, &s.model, &["--regularizer", "delta", "--attention", "text.safetensors"], 1, &["no attention file of spgraph"]);
    assert!(!names(lab.0.path()).contains(&"b".to_string()));
}
