//! `eval`, `predict` and `export` agree about what a network knows.

use crate::support::{ENGINES, Lab, Outcome, names, shared};
use serde_json::Value;

fn eval(lab: &Lab, subject: &str, more: &[&str]) -> Value {
    lab.run(&[&["eval", subject, "--data", &shared().images, "--json"], more].concat()).json()
}

/// The same images, the same answers, and the same loss up to rounding.
fn agree(a: &Value, b: &Value) {
    assert_eq!((&a["images"], &a["accuracy"], &a["classes"]), (&b["images"], &b["accuracy"], &b["classes"]));
    let (x, y) = (a["loss"].as_f64().unwrap(), b["loss"].as_f64().unwrap());
    assert!((x - y).abs() <= 1e-5 * x.abs(), "{x} {y}");
}

#[test]
fn run_bundle_and_exported_model_agree_on_both_engines() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["export", &s.run, "-o", "tuned.onnx"]).ok();
    lab.run(&["export", &s.bundle, "-o", "start.onnx"]).ok();
    let reference = eval(&lab, &s.run, &["--engine", "tract"]);
    let start = eval(&lab, &s.model, &["--engine", "tract"]);
    assert_ne!(reference["loss"], start["loss"]);
    for engine in ENGINES {
        let engine = ["--engine", engine];
        agree(&eval(&lab, &s.run, &engine), &reference);
        agree(&eval(&lab, "tuned.onnx", &engine), &reference);
        agree(&eval(&lab, "tuned.onnx", &[&engine[..], &["--batch", "5"]].concat()), &reference);
        for subject in [&s.bundle, &s.model, "start.onnx"] {
            agree(&eval(&lab, subject, &engine), &start);
        }
        agree(&eval(&lab, &s.run, &[&engine[..], &["--state", "start"]].concat()), &start);
    }
    assert_eq!(reference["images"], 24);
    let right: u64 = reference["classes"].as_array().unwrap().iter().map(|c| c["correct"].as_u64().unwrap()).sum();
    assert_eq!(reference["accuracy"].as_f64().unwrap(), right as f64 / 24.0);
    let text = lab.run(&["eval", &s.run, "--data", &s.images, "--engine", "tract", "--threads", "1"]).ok();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("speed") && last.ends_with("tract 0.23, CPU, 1 thread"), "{text}");
}

#[test]
fn the_source_s_head_measures_the_source_s_task() {
    let lab = Lab::new();
    let s = shared();
    // Features that have not been trained under their own old head are the source model.
    lab.run(&["rewrite", &s.model, "--classes", "5", "--batch", "4", "-o", "b"]).ok();
    let train = ["finetune", "b", "--data", &s.five, "--steps", "8", "--engine", "ort", "-o", "run"];
    lab.run(&train).ok();
    let source = eval(&lab, &s.model, &["--engine", "tract"]);
    agree(&eval(&lab, "b", &["--head-from", &s.model, "--engine", "tract"]), &source);
    agree(&eval(&lab, "run", &["--state", "start", "--head-from", &s.model, "--engine", "tract"]), &source);
    // Tuned ones are not; by hand: the exported network with the old head's two tensors put back.
    let tuned = eval(&lab, "run", &["--head-from", &s.model, "--engine", "tract"]);
    assert_ne!(tuned["loss"], source["loss"]);
    lab.run(&["export", "run", "-o", "tuned.onnx"]).ok();
    let mut model = spgraph::onnx::read(lab.path("tuned.onnx")).unwrap().proto;
    let old = spgraph::onnx::read(&s.model).unwrap().proto;
    let (graph, donor) = (model.graph.as_mut().unwrap(), old.graph.unwrap());
    for t in graph.initializer.iter_mut().filter(|t| t.name().starts_with("fc.")) {
        *t = donor.initializer.iter().find(|o| o.name() == t.name()).unwrap().clone();
    }
    graph.output = donor.output;
    model.metadata_props.retain(|p| p.key() != "spgraph.classes");
    spgraph::onnx::write(lab.path("mixed.onnx"), &model).unwrap();
    agree(&eval(&lab, "mixed.onnx", &["--engine", "tract"]), &tuned);
    lab.refuses(&["eval", "run", "--data", &s.five, "--head-from", &s.model, "--engine", "tract"], 1, &["5 class folders", "3 classes"]);
}

#[test]
fn predictions_come_as_text_and_json() {
    let lab = Lab::new();
    let s = shared();
    let images: Vec<String> = ["bricks", "cells", "plaid"]
        .iter()
        .flat_map(|c| names(&std::path::Path::new(&s.images).join(c)).into_iter().map(move |n| format!("{}/{c}/{n}", s.images)))
        .collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let predict = |more: &[&str]| lab.run(&[&["predict", &s.run, "--engine", "tract"], more, &images].concat());
    let json = predict(&["--json", "--top", "3"]).json();
    let list = json.as_array().unwrap();
    assert_eq!(list.len(), 24);
    let mut right = 0;
    for (prediction, image) in list.iter().zip(&images) {
        assert_eq!(prediction["image"], *image);
        let guesses = prediction["guesses"].as_array().unwrap();
        let chances: Vec<f64> = guesses.iter().map(|g| g["probability"].as_f64().unwrap()).collect();
        assert!(
            guesses.len() == 3 && chances.is_sorted_by(|a, b| a >= b) && (chances.iter().sum::<f64>() - 1.0).abs() < 1e-6,
            "{prediction}"
        );
        right += image.contains(guesses[0]["class"].as_str().unwrap()) as u64;
    }
    assert_eq!(eval(&lab, &s.run, &["--engine", "tract"])["accuracy"].as_f64().unwrap(), right as f64 / 24.0);
    let text = predict(&[]).ok();
    assert!(text.starts_with("image ") && text.lines().count() == 25, "{text}");
    assert!(text.lines().nth(1).unwrap().contains(list[0]["guesses"][0]["class"].as_str().unwrap()));
    // More classes than there are is no error, and a batch changes nothing.
    assert_eq!(predict(&["--json", "--top", "9"]).json(), json);
    lab.run(&["export", &s.run, "-o", "tuned.onnx"]).ok();
    let tuned = |more: &[&str]| lab.run(&[&["predict", "tuned.onnx", "--json", "--engine", "tract"], more, &images].concat()).json();
    let (one, seven) = (tuned(&[]), tuned(&["--batch", "7"]));
    for ((a, b), c) in one.as_array().unwrap().iter().zip(seven.as_array().unwrap()).zip(list) {
        assert_eq!((&a["guesses"][0]["class"], &b["guesses"][0]["class"]), (&c["guesses"][0]["class"], &c["guesses"][0]["class"]));
    }
    let missing = format!("{}/cells/nothing.png", s.images);
    lab.refuses(&["predict", &s.run, &missing, "--engine", "tract"], 1, &["nothing.png", "Check the path"]);
}

#[test]
fn a_model_that_says_nothing_about_images_gets_a_note() {
    let lab = Lab::new();
    let s = shared();
    let Outcome { code, err, .. } = lab.run(&["eval", &s.model, "--data", &s.images, "--engine", "tract"]);
    assert!(
        code == 0 && err.contains("note: the model does not say how images are prepared; assuming --resize 16 --mean 0.485,0.456,0.406"),
        "{err}"
    );
    let given = ["--resize", "16", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"];
    let outcome = lab.run(&[&["eval", &s.model, "--data", &s.images, "--engine", "tract"], &given[..]].concat());
    // The labels are another assumption.
    assert!(outcome.code == 0 && !outcome.err.contains("images are prepared") && outcome.err.lines().count() == 1, "{}", outcome.err);
    lab.write("names.txt", "one\ntwo\nthree\n").write("few.txt", "one\ntwo\n");
    let image = format!("{}/cells/cells-s0-00000.png", s.images);
    let named = lab.run(&["predict", &s.model, &image, "--class-names", "names.txt", "--engine", "tract"]).ok();
    assert!(["one", "two", "three"].iter().any(|n| named.contains(n)), "{named}");
    lab.refuses(&["predict", &s.model, &image, "--class-names", "few.txt", "--engine", "tract"], 2, &["2 class names", "3 classes"]);
}
