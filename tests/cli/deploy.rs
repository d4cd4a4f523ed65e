//! Exports that take decoded images and tell classes, and the distance between networks.

use crate::support::{Lab, shared};
use spgraph::engine::{self, EngineChoice, EngineOptions, Kernels};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx;

/// The outputs of a file by name, from every runtime.
fn outputs(path: &std::path::Path, input: &str, value: &Tensor) -> Vec<Vec<(String, Tensor)>> {
    let run = |choice, kernels| {
        let engine = engine::open(&EngineOptions { choice, kernels, ..EngineOptions::default() }).unwrap();
        let mut session = engine.load(path).unwrap();
        let names: Vec<String> = session.signature().outputs.iter().map(|o| o.name.clone()).collect();
        names.into_iter().zip(session.run(&[(input, value)]).unwrap()).collect()
    };
    vec![run(EngineChoice::Ort, Kernels::Standard)]
}

fn metadata(path: &std::path::Path, key: &str) -> String {
    let file = onnx::open(path).unwrap();
    file.proto.metadata_props.iter().find(|p| p.key() == key).unwrap_or_else(|| panic!("no {key}")).value().to_string()
}

/// An image is decoded, given to the exported file as it is, and gets what `predict` says, for images of any proportions.
#[test]
fn a_file_for_decoded_images_says_what_predict_says() {
    let lab = Lab::new();
    let said = lab.run(&["export", &shared().run, "-o", "app.onnx", "--preprocess", "--softmax", "--top", "2", "--labels"]).ok();
    assert!(said.contains("preprocessing  within"), "{said}");
    assert_eq!(metadata(&lab.path("app.onnx"), "names"), r#"{0: "bricks", 1: "cells", 2: "plaid"}"#);
    for (i, (width, height)) in [(16, 16), (40, 23), (17, 61), (9, 12), (200, 150)].into_iter().enumerate() {
        let image = image::RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 + y * 13) as u8, (x * x + 31 * y) as u8, ((x ^ y) * 11 + i as u32) as u8])
        });
        let file = format!("i{i}.png");
        image.save(lab.path(&file)).unwrap();
        let json = lab.run(&["predict", &shared().run, &file, "--json", "--top", "2", "--engine", "ort", "--kernels", "standard"]).json();
        let shape = vec![1, height as usize, width as usize, 3];
        let input = Tensor::new(DType::U8, shape, image.into_raw()).unwrap();
        for found in outputs(&lab.path("app.onnx"), "images", &input) {
            let of = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, t)| t).unwrap();
            let (labels, scores) = (of("top_labels").to_i64().unwrap(), of("top_scores").to_f64().unwrap());
            let probabilities = of("probabilities").to_f64().unwrap();
            assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{probabilities:?}");
            let text = json.to_string();
            for k in 0..2 {
                assert!((probabilities[labels[k] as usize] - scores[k]).abs() < 1e-7);
                let name = ["bricks", "cells", "plaid"][labels[k] as usize];
                assert!(text.contains(name), "{name} {text}");
            }
            let best = find_number(&json, "probability").unwrap();
            assert!((best - scores[0]).abs() < 5e-3, "{width}×{height}: {best} and {scores:?}");
        }
    }
    // It is for use: what it is, and what to train instead.
    let what = "is an export of spgraph that prepares its images itself (--preprocess)";
    let verdict = lab.run(&["inspect", "app.onnx"]).no();
    assert!(verdict.contains(what) && verdict.contains("Start from an export of the same run without that"), "{verdict}");
    lab.refuses(&["rewrite", "app.onnx", "--classes", "2", "-o", "b"], 1, &[what]);
}

/// The first number under that key, however deep.
fn find_number(json: &serde_json::Value, key: &str) -> Option<f64> {
    match json {
        serde_json::Value::Object(map) => map.get(key).and_then(|v| v.as_f64()).or_else(|| map.values().find_map(|v| find_number(v, key))),
        serde_json::Value::Array(list) => list.iter().find_map(|v| find_number(v, key)),
        _ => None,
    }
}

#[test]
fn what_is_not_asked_for_changes_nothing_and_where_it_comes_from_is_written() {
    let lab = Lab::new();
    lab.run(&["export", &shared().run, "-o", "a.onnx"]).ok();
    lab.run(&["export", &shared().run, "-o", "b.onnx"]).ok();
    assert_eq!(std::fs::read(lab.path("a.onnx")).unwrap(), std::fs::read(lab.path("b.onnx")).unwrap());
    let provenance: serde_json::Value = serde_json::from_str(&metadata(&lab.path("a.onnx"), "spgraph.provenance")).unwrap();
    assert_eq!((&provenance["penalty"], &provenance["steps"]), (&"l2-sp".into(), &6.into()));
    assert_eq!((&provenance["strengths"]["alpha"], &provenance["source"]), (&0.1.into(), &"m.onnx".into()));
    let source = lab.run(&["inspect", &shared().model, "--json"]).json();
    assert_eq!(provenance["source_sha256"], source["sha256"]);
    // The opset stays.
    lab.run(&["export", &shared().run, "-o", "c.onnx", "--preprocess", "--softmax"]).ok();
    let opset = |name: &str| onnx::open(lab.path(name)).unwrap().proto.opset_import[0].version();
    assert_eq!(opset("a.onnx"), opset("c.onnx"));
    // Probabilities are read as such.
    lab.run(&["export", &shared().run, "-o", "p.onnx", "--softmax"]).ok();
    let loss = |name: &str| lab.run(&["eval", name, "--data", &shared().images, "--json"]).json()["loss"].as_f64().unwrap();
    assert!((loss("a.onnx") - loss("p.onnx")).abs() < 1e-4);
    lab.refuses(&["export", &shared().run, "-o", "x.onnx", "--top", "4"], 2, &["--top 4", "of 3"]);
    lab.refuses(&["export", &shared().run, "-o", "x.onnx", "--top", "0"], 2, &["--top 0"]);
}

#[test]
fn drift_by_layer() {
    let lab = Lab::new();
    lab.run(&["export", &shared().run, "-o", "t.onnx"]).ok();
    let json = lab.run(&["drift", &shared().model, "t.onnx", "--json"]).json();
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(format!("{}/run.json", shared().run)).unwrap()).unwrap();
    let recorded = &record["results"]["distance"];
    // The run's own record of every trained parameter, which leaves statistics out.
    for layer in recorded["layers"].as_array().unwrap() {
        let found = json["layers"].as_array().unwrap().iter().find(|l| l["name"] == layer["name"]).unwrap_or_else(|| panic!("no {layer}"));
        let (a, b) = (found["distance"].as_f64().unwrap(), layer["distance"].as_f64().unwrap());
        assert!((a - b).abs() <= 1e-9 * b.max(1.0), "{layer}: {a}");
    }
    let same = lab.run(&["drift", "t.onnx", &shared().run, "--json"]).json();
    assert_eq!(same["total"], 0.0);
    let csv = lab.run(&["drift", &shared().bundle, &shared().run, "--format", "csv"]).ok();
    assert!(csv.starts_with("name,kind,elements,distance,relative,equal\n"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + json["layers"].as_array().unwrap().len());
    assert!(lab.run(&["drift", &shared().model, "t.onnx"]).ok().contains("distance     "));
    // A new head is named, another network refused.
    lab.run(&["rewrite", &shared().model, "--classes", "5", "-o", "five"]).ok();
    let replaced = lab.run(&["drift", &shared().model, "five", "--json"]).json();
    assert_eq!(replaced["replaced"].as_array().unwrap().len(), 2);
    lab.run(&["new", "resnet32", "--classes", "3", "--input", "3x16x16", "-o", "deep.onnx"]).ok();
    lab.refuses(&["drift", &shared().model, "deep.onnx"], 1, &["deep.onnx", "of one structure", "only deep.onnx has"]);
}
