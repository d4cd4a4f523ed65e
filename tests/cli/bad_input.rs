//! What people give by mistake to a fine-tuning: each is said clearly, counted, and loses nothing. docs/reliability.md has the list of all of them.

use crate::support::{Lab, files, names, shared};
use std::path::Path;

/// A copy of the shared images under that name.
fn images(lab: &Lab, to: &str) {
    for (name, data) in files(Path::new(&shared().images)) {
        if data != b"folder" {
            lab.write(&format!("{to}/{}", name.display()), data);
        }
    }
}

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["finetune", shared().bundle.as_str(), "--steps", "2", "--engine", "tract", "--threads", "1", "-o", "run"][..], more].concat()
}

#[test]
fn classes_that_validation_lacks_or_that_have_one_image_are_named() {
    let lab = Lab::new();
    images(&lab, "all");
    images(&lab, "val");
    std::fs::remove_dir_all(lab.path("val/plaid")).unwrap();
    let outcome = lab.run(&train(&["--data", "all", "--val-data", "val"]));
    assert!(outcome.err.contains("has no images of 1 of the 3 classes: `plaid`"), "{}", outcome.err);
    outcome.ok();
    std::fs::remove_dir_all(lab.path("run")).unwrap();
    let plaid = names(&lab.path("all/plaid"));
    plaid.iter().skip(1).for_each(|name| std::fs::remove_file(lab.path("all/plaid").join(name)).unwrap());
    let outcome = lab.run(&train(&["--data", "all", "--val-split", "0.25"]));
    assert!(outcome.err.contains("1 class has one image only") && outcome.err.contains("`plaid`"), "{}", outcome.err);
    outcome.ok();
}

#[test]
fn lists_with_unknown_labels_missing_files_and_paths_twice_are_refused_with_lines() {
    let lab = Lab::new();
    images(&lab, "all");
    let [a, b, c] = ["bricks", "cells", "plaid"].map(|class| format!("all/{class}/{}", names(&lab.path(&format!("all/{class}")))[0]));
    let list = |lines: &[(&str, &str)]| {
        let text: String = lines.iter().map(|(path, label)| format!("{path},{label}\n")).collect();
        lab.write("list.csv", format!("image,label\n{text}"));
    };
    let refused = |parts: &[&str]| {
        lab.refuses(&train(&["--data", "list.csv"]), 1, parts);
        lab.refuses(&train(&["--data", "all", "--val-data", "list.csv"]), 1, parts);
    };
    list(&[(&a, "bricks"), (&b, "cells"), (&c, "plaid"), ("all/gone.png", "plaid"), (&a, "bricks"), (&b, "plaid")]);
    refused(&[
        "1 file is missing (line 5: ",
        "1 path is there twice (lines 2 and 6: ",
        "1 path is there twice with different labels (lines 3 and 7: ",
    ]);
    list(&[(&a, "bricks"), (&b, "cels"), (&c, "plaid")]);
    lab.refuses(&train(&["--data", "all", "--val-data", "list.csv"]), 1, &["`cels`", "`bricks`, `cells`, `plaid`"]);
    assert!(!lab.path("run").exists());
}

#[test]
fn a_run_of_another_model_does_not_go_on_with_this_one() {
    let lab = Lab::new();
    let made = |classes: &str, to: &str| lab.run(&["new", "resnet20", "--classes", classes, "--input", "3x16x16", "-o", to]).ok();
    made("3", "net.onnx");
    made("5", "other.onnx");
    let run = ["--data", &shared().images, "--steps", "2", "--batch", "4", "--engine", "tract", "--threads", "1", "-o", "run"];
    lab.run(&[&["finetune", "net.onnx"][..], &run].concat()).ok();
    lab.refuses(&[&["finetune", "other.onnx", "--resume"][..], &run].concat(), 2, &["run", "other.onnx", "another model"]);
}
