//! What `eval` and `predict` write, as tables, JSON and plots, and what they refuse.

use crate::support::{Lab, names, shared};
use serde_json::Value;

fn rows(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|r| r.unwrap().iter().map(String::from).collect()).collect()
}

fn read(lab: &Lab, name: &str) -> String {
    std::fs::read_to_string(lab.path(name)).unwrap()
}

#[test]
fn an_evaluation_says_the_same_in_every_form() {
    let lab = Lab::new();
    let s = shared();
    let files = ["--json", "e.json", "--csv", "e.csv", "--confusion", "c.csv", "--top", "2", "--engine", "tract"];
    let text = lab.run(&[&["eval", &s.run, "--data", &s.images], &files[..]].concat()).ok();
    assert!(text.contains("among the first 2") && text.contains("ECE, 15 bins") && text.starts_with("class "), "{text}");
    lab.run(&["eval", &s.run, "--data", &s.images, "--confusion", "c.svg", "--engine", "tract"]).ok();
    assert!(read(&lab, "c.svg").starts_with("<svg ") && read(&lab, "c.svg").contains("plaid"));
    let json: Value = serde_json::from_str(&read(&lab, "e.json")).unwrap();
    let table = rows(&read(&lab, "e.csv"));
    assert_eq!(table[0][..4], ["image", "label", "class", "prediction"]);
    let images = &table[1..];
    assert_eq!((images.len(), json["images"].as_u64().unwrap()), (24, 24));
    let float = |row: &Vec<String>, column: usize| row[column].parse::<f64>().unwrap();
    let right = images.iter().filter(|r| r[5] == "1").count() as f64;
    assert_eq!(json["accuracy"].as_f64().unwrap(), right / 24.0);
    assert_eq!(json["top"][0]["accuracy"].as_f64().unwrap(), images.iter().filter(|r| float(r, 8) <= 2.0).count() as f64 / 24.0);
    let loss = images.iter().map(|r| float(r, 9)).sum::<f64>() / 24.0;
    assert!((json["loss"].as_f64().unwrap() - loss).abs() < 1e-12);
    for row in images {
        assert!(row[0].contains(&row[2]) && std::path::Path::new(&row[0]).is_file(), "{row:?}");
        assert_eq!((row[1] == row[3], row[2] == row[4]), (row[5] == "1", row[5] == "1"), "{row:?}");
        assert!((float(row, 7).ln() + float(row, 9)).abs() < 1e-6, "the loss is −log of the right class's probability: {row:?}");
    }
    let matrix = rows(&read(&lab, "c.csv"));
    assert_eq!(matrix[0], ["class", "bricks", "cells", "plaid"]);
    for (label, row) in matrix[1..].iter().enumerate() {
        for (said, cell) in row[1..].iter().enumerate() {
            let count = images.iter().filter(|r| r[1] == label.to_string() && r[3] == said.to_string()).count();
            assert_eq!(cell, &count.to_string());
        }
    }
    // The worst are those with the highest loss among the wrong ones.
    let worst = images.iter().filter(|r| r[5] == "0").map(|r| float(r, 9)).fold(0.0, f64::max);
    assert_eq!(json["mistakes"][0]["loss"].as_f64().unwrap_or(0.0), worst);
    // To stdout nothing but what was asked for.
    for (flag, start) in [("--json", "{"), ("--csv", "image,label")] {
        let out = lab.run(&["eval", &s.run, "--data", &s.images, flag, "-", "--engine", "tract"]).ok();
        assert!(out.starts_with(start), "{out}");
    }
}

#[test]
fn ten_views_are_averaged() {
    let lab = Lab::new();
    let s = shared();
    let eval = |more: &[&str]| lab.run(&[&["eval", s.run.as_str(), "--data", &s.images, "--json", "--engine", "tract"], more].concat());
    let (one, ten) = (eval(&[]).json(), eval(&["--ten-crop"]));
    assert!(ten.err.contains("the five crops are one. A larger --resize"), "{}", ten.err);
    let ten = ten.json();
    assert_eq!((&one["views"], &ten["views"], &ten["images"]), (&1.into(), &10.into(), &24.into()));
    assert_ne!(one["loss"], ten["loss"], "a mirrored image gives something else");
    let large = eval(&["--ten-crop", "--resize", "20"]);
    assert!(!large.err.contains("the five crops"), "{}", large.err);
    // Whatever the batch: the run's network takes 4 images, so that views of an image lie in two batches.
    lab.run(&["export", &s.run, "-o", "tuned.onnx"]).ok();
    let free = lab.run(&["eval", "tuned.onnx", "--data", &s.images, "--json", "--engine", "tract", "--ten-crop", "--batch", "7"]).json();
    assert_eq!(free["classes"], ten["classes"]);
    assert!((free["loss"].as_f64().unwrap() - ten["loss"].as_f64().unwrap()).abs() < 1e-5);
}

#[test]
fn files_with_results_are_refused_before_the_work() {
    let lab = Lab::new();
    let s = shared();
    lab.write("old.json", "1").write("old.csv", "1");
    let eval = ["eval", &s.run, "--data", &s.images, "--engine", "tract"];
    let refuses = |more: &[&str], code, parts: &[&str]| lab.refuses(&[&eval[..], more].concat(), code, parts);
    refuses(&["--json", "old.json"], 2, &["old.json exists already", "--force"]);
    refuses(&["--confusion", "old.csv"], 2, &["old.csv exists already", "--force"]);
    refuses(&["--confusion", "c.png"], 2, &["--confusion", ".csv or .svg"]);
    refuses(&["--csv", "missing/e.csv"], 2, &["no folder missing"]);
    refuses(&["--csv", "-", "--json", "-"], 2, &["both go to stdout"]);
    let wrong = lab.run(&[&eval[..], &["--json", "photo.jpg"]].concat());
    assert!(wrong.code == 2 && wrong.err.contains("ends in .json"), "{wrong:?}");
    lab.run(&[&eval[..], &["--json", "old.json", "--force"]].concat()).ok();
    assert!(names(lab.0.path()).contains(&"old.json".to_string()) && read(&lab, "old.json").starts_with('{'));
}

#[test]
fn predictions_of_folders_patterns_and_lists() {
    let lab = Lab::new();
    let s = shared();
    let predict = |more: &[&str]| lab.run(&[&["predict", s.run.as_str(), "--engine", "tract"], more].concat());
    let all = predict(&[&s.images, "--json"]).json();
    assert_eq!(all.as_array().unwrap().len(), 24);
    assert_eq!(predict(&[&format!("{}/*/*.png", s.images), "--json", "-"]).json(), all);
    let some = predict(&[&format!("{}/cells", s.images), "--csv", "-"]).ok();
    assert_eq!((rows(&some).len(), rows(&some)[0][..3].join(" ")), (9, "image rank label".into()));
    // A list from stdin, as `find` or a Windows editor writes it.
    let list: String = all.as_array().unwrap().iter().map(|p| format!("{}\r\n", p["image"].as_str().unwrap())).collect();
    let mut command = assert_cmd::Command::from_std(lab.command(&["predict", &s.run, "-", "--json", "--engine", "tract"]));
    let out = command.write_stdin(format!("{list}\n")).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap(), all);
    assert!(lab.run(&["predict", &s.run, &format!("{}/*.gif", s.images)]).refused(1, &["no image matches"]).contains(".gif"));
    lab.write("empty/notes.txt", "");
    lab.run(&["predict", &s.run, "empty"]).refused(1, &["hold no images"]);
    let mut command = assert_cmd::Command::from_std(lab.command(&["predict", &s.run, "-", "--engine", "tract"]));
    assert_eq!(command.write_stdin("").output().unwrap().status.code(), Some(2));
}

#[test]
fn one_bad_image_among_many_is_told_and_the_rest_goes_on() {
    let lab = Lab::new();
    let s = shared();
    for class in ["cells", "plaid"] {
        for name in names(&std::path::Path::new(&s.images).join(class)) {
            let whole = std::fs::read(format!("{}/{class}/{name}", s.images)).unwrap();
            lab.write(&format!("mixed/{name}"), whole);
        }
    }
    lab.write("mixed/broken.png", "no picture").write("mixed/empty.jpg", "");
    let predict = |more: &[&str]| lab.run(&[&["predict", s.run.as_str(), "mixed", "--engine", "tract"], more].concat());
    let told = predict(&["--csv", "p.csv"]);
    assert!(told.code == 1 && told.out.lines().count() == 17, "{told:?}");
    assert!(told.err.contains("broken.png") && told.err.contains("empty.jpg"), "{}", told.err);
    assert!(told.err.contains("error: 2 of 18 images could not be read; the others are done"), "{}", told.err);
    let table = rows(&read(&lab, "p.csv"));
    assert_eq!((table.len(), table.iter().filter(|r| !r[5].is_empty()).count()), (19, 3), "{table:?}");
    let skipped = predict(&["--on-bad-image", "skip", "--json"]);
    assert!(skipped.err.contains("2 of 18 images could not be read and were left out"), "{}", skipped.err);
    assert_eq!(skipped.json().as_array().unwrap().len(), 16);
    let refused = predict(&["--on-bad-image", "refuse", "--csv", "other.csv"]);
    assert!(refused.out.is_empty() && !lab.path("other.csv").exists(), "{refused:?}");
    refused.refused(1, &["broken.png", "cannot read the image"]);
}

#[test]
fn features_are_what_enters_the_classifier() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["export", &s.run, "-o", "tuned.onnx"]).ok();
    let predict = |subject: &str, file: &str| {
        lab.run(&["predict", subject, &s.images, "--features", file, "--json", "p.json", "--force", "--engine", "tract", "--batch", "4"])
            .ok()
    };
    predict(&s.run, "f.safetensors");
    let bytes = std::fs::read(lab.path("f.safetensors")).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let images: Vec<String> = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["images"]).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let features = tensors.tensor("features").unwrap();
    assert_eq!((features.shape(), images.len()), (&[24, 64][..], 24));
    let values: Vec<f32> = features.data().chunks_exact(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    // By hand: the classifier's weight and bias on them give the probabilities.
    let proto = spgraph::onnx::read(lab.path("tuned.onnx")).unwrap();
    let graph = proto.proto.graph.as_ref().unwrap();
    let parameter = |name: &str| {
        let tensor = proto.tensor(graph.initializer.iter().find(|t| t.name() == name).unwrap()).unwrap();
        tensor.bytes().chunks_exact(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap()))).collect::<Vec<f64>>()
    };
    let (weight, bias) = (parameter("fc.weight"), parameter("fc.bias"));
    let predictions: Value = serde_json::from_str(&read(&lab, "p.json")).unwrap();
    for (row, prediction) in values.chunks(64).zip(predictions.as_array().unwrap()) {
        let logits: Vec<f64> =
            weight.chunks(64).zip(&bias).map(|(w, b)| b + w.iter().zip(row).map(|(w, x)| w * f64::from(*x)).sum::<f64>()).collect();
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        let best = logits.iter().copied().fold(f64::MIN, f64::max).exp() / sum;
        assert!((best - prediction["guesses"][0]["probability"].as_f64().unwrap()).abs() < 1e-4);
    }
    // The exported model has the same, and numpy's form holds the same numbers.
    predict("tuned.onnx", "g.npz");
    let mut npz = zip::ZipArchive::new(std::fs::File::open(lab.path("g.npz")).unwrap()).unwrap();
    let array = npyz::NpyFile::new(npz.by_name("features.npy").unwrap()).unwrap();
    assert_eq!(array.shape(), [24, 64]);
    let other: Vec<f32> = array.into_vec().unwrap();
    assert!(values.iter().zip(&other).all(|(a, b)| (a - b).abs() <= 1e-4 * a.abs().max(1.0)));
    let files: Vec<Vec<u8>> = npyz::NpyFile::new(npz.by_name("images.npy").unwrap()).unwrap().into_vec().unwrap();
    assert_eq!(files.iter().map(|f| String::from_utf8_lossy(f).trim_end_matches('\0').to_string()).collect::<Vec<_>>(), images);
    lab.run(&["predict", &s.run, &s.images, "--features", "x.csv"]).refused(2, &["--features", ".safetensors or .npz"]);
}
