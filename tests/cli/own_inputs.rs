//! No command replaces what it reads, whatever that is called.

use crate::support::{Lab, fixture, shared};
use std::os::unix::fs::symlink;

/// A place with a model of its own, its bundle, a run and images, and other names for them.
fn place() -> Lab {
    let lab = Lab::new();
    let s = shared();
    std::fs::create_dir_all(lab.path("w")).unwrap();
    std::fs::copy(&s.model, lab.path("w/m.onnx")).unwrap();
    std::fs::copy(fixture("external.onnx"), lab.path("w/external.onnx")).unwrap();
    for class in ["bricks", "cells", "plaid"] {
        for file in std::fs::read_dir(format!("{}/{class}", s.images)).unwrap().map(|f| f.unwrap()) {
            let to = lab.path("images").join(class).join(file.file_name());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(file.path(), to).unwrap();
        }
    }
    lab.run(&["rewrite", "w/m.onnx", "--batch", "4", "-o", "b"]).ok();
    lab.run(&["finetune", "b", "--data", "images", "--engine", "tract", "--steps", "2", "-o", "run"]).ok();
    // A folder that may be replaced, with the model in it.
    lab.run(&["rewrite", "w/m.onnx", "--batch", "4", "-o", "w/b"]).ok();
    std::fs::copy(lab.path("w/m.onnx"), lab.path("w/b/m.onnx")).unwrap();
    symlink("w/m.onnx", lab.path("link.onnx")).unwrap();
    symlink("w/b", lab.path("link")).unwrap();
    std::fs::hard_link(lab.path("w/m.onnx"), lab.path("hard.onnx")).unwrap();
    std::fs::hard_link(lab.path("run/state.safetensors"), lab.path("hard.safetensors")).unwrap();
    lab
}

#[test]
fn no_command_replaces_what_it_reads() {
    let lab = place();
    let fisher = |output| vec!["fisher", "w/m.onnx", "--data", "images", "--engine", "tract", "--force", "-o", output];
    let eval = |flag, output| vec!["eval", "run", "--data", "images", "--engine", "tract", "--force", flag, output];
    let table: Vec<Vec<&str>> = vec![
        vec!["rewrite", "w/b/m.onnx", "--force", "-o", "w/b"],
        vec!["rewrite", "w/b/m.onnx", "--force", "-o", "link"],
        vec!["rewrite", "link/m.onnx", "--force", "-o", "w/b"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "--force", "-o", "b"],
        vec!["finetune", "run/bundle", "--data", "images", "--steps", "1", "--force", "-o", "run"],
        vec!["finetune", "b", "--data", "images", "--steps", "1", "-o", "images/run"],
        fisher("w/m.onnx"),
        fisher("link.onnx"),
        fisher("hard.onnx"),
        fisher("images/bricks/bricks-s0-00000.png"),
        vec!["export", "run", "--force", "-o", "run/state.safetensors"],
        vec!["export", "run", "--force", "-o", "hard.safetensors"],
        vec!["export", "run", "--force", "-o", "run/bundle/eval.onnx"],
        vec!["export", "b", "--force", "-o", "b/template.onnx"],
        vec!["interpolate", "run", "--to", "0.5", "--force", "-o", "run/state.safetensors"],
        vec!["attention", "run", "--data", "images", "--force", "-o", "run/state.safetensors"],
        vec!["profile", "b", "--engine", "ort", "--trace", "b/step.onnx"],
        eval("--json", "run/run.json"),
        eval("--confusion", "images/bricks/x.csv"),
    ];
    for args in &table[..table.len() - 1] {
        lab.refuses(args, 2, &["is read"]);
    }
    // A file among the images is none of them.
    lab.run(&table[table.len() - 1]).ok();
}

/// A step that no memory can hold, and shapes that nothing can.
#[test]
fn what_cannot_fit_is_refused_before_it_is_tried() {
    let lab = Lab::new();
    let s = shared();
    lab.run(&["rewrite", &s.model, "--batch", "dynamic", "-o", "b"]).ok();
    let args = ["finetune", "b", "--data", &s.images, "--engine", "tract", "--steps", "1", "--batch", "100000000", "-o", "r"];
    lab.refuses(&args, 2, &["100000000 images would take about", "--batch", "--force-memory"]);
    let manifest = lab.path("b/manifest.json");
    let whole: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let mut plain = whole.clone();
    ["blake3", "sealed", "files"].iter().for_each(|field| drop(plain.as_object_mut().unwrap().remove(*field)));
    let huge = serde_json::json!([1u64 << 63, 2]);
    let edits: [(&str, serde_json::Value); 9] = [
        ("/state/0/shape", huge.clone()),
        ("/state/0/shape", serde_json::json!([1u64 << 40])),
        ("/state/0/shape", serde_json::json!([-3])),
        ("/state/0/shape", serde_json::json!([1.5])),
        ("/data/input/shape", huge),
        ("/data/input/shape", serde_json::json!([])),
        ("/data/input/shape", serde_json::json!([-1, -5, 16, 16])),
        ("/state", serde_json::json!({})),
        ("/scalars/0/default", serde_json::json!(null)),
    ];
    for (place, value) in edits {
        let mut edited = plain.clone();
        *edited.pointer_mut(place).unwrap() = value.clone();
        std::fs::write(&manifest, serde_json::to_string_pretty(&edited).unwrap()).unwrap();
        lab.refuses(&["export", "b", "-o", "x.onnx"], 1, &["manifest.json"]);
    }
    for field in plain.as_object().unwrap().keys() {
        let mut edited = plain.clone();
        edited.as_object_mut().unwrap().remove(field);
        std::fs::write(&manifest, serde_json::to_string_pretty(&edited).unwrap()).unwrap();
        let outcome = lab.run(&["export", "b", "--force", "-o", "x.onnx"]);
        assert!(matches!(outcome.code, 0 | 1), "{field}: {outcome:?}");
    }
}

#[test]
fn replaced_images_are_noticed() {
    let lab = place();
    let run = |args: &[&str]| lab.run(&[&["finetune", "b", "--data", "images", "--engine", "tract", "-o", "r"], args].concat());
    run(&["--steps", "2"]).ok();
    let image = lab.path("images/bricks/bricks-s0-00000.png");
    let content = std::fs::read(&image).unwrap();
    let go_on = |more: &[&str]| lab.run(&[&["finetune", "--resume", "-o", "r", "--steps", "+1"], more].concat());
    go_on(&[]).ok();
    // Written again: another time, the same content.
    std::fs::write(&image, &content).unwrap();
    go_on(&[]).refused(1, &["images", "were changed or replaced", "--verify-data"]);
    go_on(&["--verify-data"]).ok();
    go_on(&[]).ok();
    std::fs::copy(lab.path("images/bricks/bricks-s0-00001.png"), &image).unwrap();
    go_on(&[]).refused(1, &["were changed or replaced"]);
    go_on(&["--verify-data"]).refused(1, &["have other contents"]);
}

/// A pipe under the name of something that is read.
#[test]
fn pipes_hold_nothing_up() {
    let lab = Lab::new();
    let s = shared();
    rustix::fs::mkfifoat(rustix::fs::CWD, lab.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for (args, code) in [
        (vec!["inspect", "pipe"], 1),
        (vec!["rewrite", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--classes", "3", "--class-names", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--penalty", "l2-sp-fisher", "--fisher", "pipe", "-o", "b"], 1),
        (vec!["rewrite", &s.model, "--from-manifest", "pipe", "-o", "b"], 1),
        (vec!["eval", &s.run, "--data", &s.images, "--class-names", "pipe"], 1),
        (vec!["predict", &s.run, "pipe"], 1),
        (vec!["finetune", "--config", "pipe"], 1),
        (vec!["finetune", &s.model, "--data", &s.images, "--class-weights", "pipe"], 2),
        (vec!["finetune", &s.model, "--data", "pipe"], 1),
        (vec!["data", "pipe"], 1),
        (vec!["report", "pipe"], 1),
        (vec!["plan", "pipe"], 1),
        (vec!["report", &s.run, "--data", "pipe"], 1),
        (vec!["eval", &s.bundle, "--weights", "pipe", "--data", &s.images], 1),
    ] {
        let text = lab.run(&args);
        assert_eq!(text.code, code, "{args:?}: {text:?}");
        assert!(text.err.contains("pipe"), "{args:?}: {text:?}");
    }
}
