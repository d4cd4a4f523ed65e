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
