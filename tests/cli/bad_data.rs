//! Image folders and images that cannot be used, and training that goes wrong.

use crate::support::{ENGINES, Lab, files, fixture, names, shared};
use std::path::Path;

/// A copy of the shared images, to be spoilt.
fn images(lab: &Lab) -> String {
    for (name, data) in files(Path::new(&shared().images)) {
        if data != b"folder" {
            lab.write(&format!("images/{}", name.display()), data);
        }
    }
    lab.path("images").display().to_string()
}

fn train<'a>(data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["finetune", shared().bundle.as_str(), "--data", data, "--steps", "12", "--engine", "ort", "-o", "run"][..], more].concat()
}

#[test]
fn folders_that_do_not_fit_are_refused() {
    let lab = Lab::new();
    let data = images(&lab);
    let both = |data: &str, parts: &[&str]| {
        lab.refuses(&train(data, &[]), 1, parts);
        lab.refuses(&["eval", &shared().model, "--data", data, "--engine", "tract"], 1, parts);
        lab.refuses(&["eval", &shared().run, "--data", data, "--engine", "tract"], 1, &[]);
    };
    both("nowhere", &["nowhere does not exist", "one sub-folder of images per class"]);
    both(&format!("{data}/cells"), &["cells", "sub-folder"]);
    both(&shared().five, &["5 class folders", "3 classes", "--classes 5"]);
    std::fs::create_dir(lab.path("images/waves")).unwrap();
    both(&data, &["`waves`", "without images", "remove the folder"]);
    std::fs::write(lab.path("images/waves/notes.txt"), "no image").unwrap();
    both(&data, &["`waves` (only 1 .txt)"]);
    std::fs::remove_dir_all(lab.path("images/waves")).unwrap();
    // One class too few, and a class that the run does not know.
    std::fs::remove_dir_all(lab.path("images/plaid")).unwrap();
    lab.refuses(&train(&data, &[]), 1, &["2 class folders", "3 classes"]);
    std::fs::rename(lab.path("images/cells"), lab.path("images/cats")).unwrap();
    lab.refuses(&["eval", &shared().run, "--data", &data, "--engine", "tract"], 1, &["`cats`", "`bricks`, `cells`, `plaid`", "Rename"]);
    lab.refuses(&train(&shared().images, &["--val-data", &data]), 1, &["`cats`"]);
}

#[test]
fn an_unreadable_image_is_named() {
    let lab = Lab::new();
    let data = images(&lab);
    let bad = lab.path("images/cells/cells-s0-00003.png");
    let whole = std::fs::read(&bad).unwrap();
    for spoilt in [&whole[..whole.len() / 2], &b"this is no picture"[..], &b""[..]] {
        std::fs::write(&bad, spoilt).unwrap();
        let parts = ["cells-s0-00003.png", "cannot read the image", "remove it"];
        lab.refuses(&["eval", &shared().run, "--data", &data, "--engine", "tract"], 1, &parts);
        lab.refuses(&["predict", &shared().run, &bad.display().to_string(), "--engine", "tract"], 1, &parts);
        // Before anything is written.
        let skip = ["--on-bad-image skip"];
        lab.refuses(&train(&data, &[]), 1, &[&parts[..], &skip].concat());
        lab.refuses(&train(&shared().images, &["--val-data", &data]), 1, &[&parts[..], &skip].concat());
    }
    std::fs::write(&bad, whole).unwrap();
    lab.run(&train(&data, &[])).ok();
    assert!(names(&lab.path("run")).contains(&"state.safetensors".to_string()));
}

#[test]
fn bad_images_are_left_out_where_that_is_asked_for() {
    let lab = Lab::new();
    let data = images(&lab);
    let spoil = |name: &str| {
        let path = lab.path(&format!("images/cells/{name}.png"));
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        (path, whole)
    };
    let (path, whole) = spoil("cells-s0-00003");
    let skip = ["--on-bad-image", "skip"];
    let eval = ["eval", shared().run.as_str(), "--data", data.as_str(), "--engine", "tract", "--json"];
    let outcome = lab.run(&[&eval[..], &skip].concat());
    assert!(outcome.err.contains("1 of the 24 images") && outcome.err.contains("cells-s0-00003.png"), "{}", outcome.err);
    assert_eq!(outcome.json()["images"], 23);
    let outcome = lab.run(&train(&data, &[&skip[..], &["--checkpoint-every", "4"]].concat()));
    assert!(outcome.err.contains("1 of the 24 images") && outcome.err.contains("data    23 images"), "{}", outcome.err);
    outcome.ok();
    let record = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(lab.path("run/run.json")).unwrap()).unwrap();
    assert_eq!((&record()["images"]["training"], &record()["images"]["skipped"]), (&23.into(), &1.into()));
    // The same images without the bad one give the same weights.
    std::fs::remove_file(&path).unwrap();
    let weights = std::fs::read(lab.path("run/state.safetensors")).unwrap();
    lab.run(&train(&data, &["--force"])).ok();
    assert!(std::fs::read(lab.path("run/state.safetensors")).unwrap() == weights);
    std::fs::write(&path, whole).unwrap();
    for i in 0..8 {
        spoil(&format!("cells-s0-0000{i}"));
    }
    std::fs::remove_dir_all(lab.path("run")).unwrap();
    lab.refuses(&train(&data, &skip), 1, &["none of the 8 images", "`cells`", "cells-s0-00000.png"]);
    lab.refuses(&[&eval[..], &skip].concat(), 1, &["none of the 8 images", "`cells`"]);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    for engine in ENGINES {
        let lab = Lab::new();
        let args = ["finetune", &shared().bundle, "--data", &shared().images, "--steps", "20", "--engine", engine, "-o", "run"];
        let args = [&args[..], &["--lr", "1e30", "--checkpoint-every", "1"]].concat();
        lab.run(&args).refused(1, &["loss is", "step 2", "learning rate of 1e30", "Lower --lr"]);
        assert!(!names(&lab.path("run")).contains(&"state.safetensors".to_string()));
        assert!(std::fs::read_to_string(lab.path("run/run.json")).unwrap().contains("\"status\": \"failed\""));
        lab.run(&["export", "run", "-o", "tuned.onnx"]).refused(2, &["did not come to its end"]);
        assert!(!lab.path("tuned.onnx").exists());
    }
}

#[test]
fn damaged_bundles_and_runs_are_refused() {
    let lab = Lab::new();
    let copy = |from: &str, to: &str| {
        for (name, data) in files(Path::new(from)).into_iter().filter(|(_, data)| data != b"folder") {
            lab.write(&format!("{to}/{}", name.display()), data);
        }
    };
    let train = |bundle: &str, engine: &str, parts: &[&str]| {
        lab.refuses(&["finetune", bundle, "--data", &shared().images, "--steps", "2", "--engine", engine, "-o", "new"], 1, parts);
    };
    train("nowhere", "tract", &["nowhere does not exist", "spgraph rewrite"]);
    train(&shared().images, "tract", &["no manifest.json", "spgraph rewrite"]);
    copy(&shared().bundle, "b");
    std::fs::remove_file(lab.path("b/eval.onnx")).unwrap();
    train("b", "tract", &["lacks b/eval.onnx", "spgraph rewrite"]);
    copy(&shared().bundle, "b");
    let step = std::fs::read(lab.path("b/step.onnx")).unwrap();
    lab.write("b/step.onnx", &step[..1000]);
    for engine in ENGINES {
        train("b", engine, &["b/step.onnx", "damaged"]);
    }
    lab.write("b/step.onnx", std::fs::read(fixture("basic.onnx")).unwrap());
    for engine in ENGINES {
        train("b", engine, &["b/step.onnx is damaged", "the manifest.json beside it"]);
    }
    copy(&shared().bundle, "b");
    lab.write("b/manifest.json", "{ \"format\": 1 }");
    train("b", "tract", &["b/manifest.json", "no spgraph manifest"]);
    let whole = std::fs::read_to_string(format!("{}/manifest.json", shared().bundle)).unwrap();
    lab.write("b/manifest.json", whole.replacen("\"format\": 2", "\"format\": 9", 1));
    train("b", "tract", &["b/manifest.json", "hash"]);
    let mut later: serde_json::Value = serde_json::from_str(&whole).unwrap();
    ["blake3", "sealed"].iter().for_each(|field| drop(later.as_object_mut().unwrap().remove(*field)));
    later["format"] = 9.into();
    lab.write("b/manifest.json", later.to_string());
    train("b", "tract", &["manifest format 9"]);

    copy(&shared().run, "r");
    let state = std::fs::read(lab.path("r/state.safetensors")).unwrap();
    lab.write("r/state.safetensors", &state[..state.len() - 4]);
    lab.refuses(&["export", "r", "-o", "x.onnx"], 1, &["r/state.safetensors", "damaged"]);
    std::fs::remove_file(lab.path("r/state.safetensors")).unwrap();
    lab.refuses(&["export", "r", "-o", "x.onnx"], 2, &["no state.safetensors"]);
    lab.write("r/run.json", "{");
    lab.refuses(&["export", "r", "-o", "x.onnx"], 1, &["r/run.json is damaged"]);
    lab.refuses(&["finetune", "--resume", "-o", "r"], 1, &["r/run.json is damaged"]);
}
