//! `finetune`: what it writes, that it repeats itself bit for bit, and that it can be continued.

use crate::support::{ENGINES, Lab, RUN_FILES, names, shared};
use serde_json::Value;
use std::path::Path;

pub fn train<'a>(engine: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let s = shared();
    [&["finetune", s.bundle.as_str(), "--data", &s.images, "--engine", engine, "--threads", "1", "-o", run][..], more].concat()
}

pub fn metrics(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Without the times.
pub fn numbers(run: &Path) -> Vec<Value> {
    let mut records = metrics(run);
    for record in &mut records {
        record.as_object_mut().unwrap().retain(|key, _| key != "seconds" && key != "wait");
    }
    records
}

pub fn record(run: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap()
}

pub fn state(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("state.safetensors")).unwrap()
}

#[test]
fn a_run_is_written_and_repeats_itself() {
    for engine in ENGINES {
        let lab = Lab::new();
        let more = ["--epochs", "2", "--augment", "flip-crop:2+color:0.2", "--schedule", "cosine"];
        let first = lab.run(&train(engine, "a", &more));
        assert!(first.err.contains("engine  ") && first.err.contains("24 images of 3 classes; 12 steps of 4 images"), "{}", first.err);
        // Where the engine comes from is said at the start and nowhere else.
        let origin = if engine == "ort" { "libonnxruntime" } else { "built in" };
        assert!(first.err.contains(origin) && !first.out.contains(origin), "{}", first.err);
        assert!(first.out.contains("wrote       a\n") && first.out.contains("spgraph export a -o tuned.onnx"), "{}", first.out);
        assert_eq!(names(&lab.path("a")), RUN_FILES);

        let steps: Vec<Value> = metrics(&lab.path("a")).into_iter().filter(|r| r["kind"] == "step").collect();
        assert_eq!(steps.iter().map(|r| r["step"].as_u64().unwrap()).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
        for r in &steps {
            let sum = r["data_loss"].as_f64().unwrap() + r["penalty"].as_f64().unwrap();
            assert!((r["loss"].as_f64().unwrap() - sum).abs() < 1e-5 && r["images"] == 4, "{r}");
        }
        assert_eq!(steps[0]["penalty"], 0.0, "at the starting point L2-SP is 0");
        assert_eq!((&steps[5]["epoch"], &steps[6]["epoch"]), (&1.into(), &2.into()));

        let r = record(&lab.path("a"));
        assert_eq!((&r["status"], &r["results"]["steps"], &r["images"]["training"]), (&"complete".into(), &12.into(), &24.into()));
        assert_eq!((&r["engine_options"]["choice"], &r["engine_options"]["threads"]), (&engine.into(), &1.into()));
        let described = r["engine"].as_str().unwrap();
        assert!(described.contains(", CPU, 1 thread") && !described.contains('/'), "{described}");

        lab.run(&train(engine, "b", &more)).ok();
        assert!(state(&lab.path("a")) == state(&lab.path("b")), "{engine}: the same seed gave other weights");
        assert_eq!(numbers(&lab.path("a")), numbers(&lab.path("b")));
        lab.run(&train(engine, "c", &[&more[..], &["--seed", "1"]].concat())).ok();
        assert!(state(&lab.path("a")) != state(&lab.path("c")), "{engine}: another seed gave the same weights");
    }
}

#[test]
fn every_way_to_log() {
    let lab = Lab::new();
    for (i, log) in ["lines", "bar", "none", "jsonl"].into_iter().enumerate() {
        let run = format!("run{i}");
        let outcome = lab.run(&train("ort", &run, &["--steps", "3", "--val-split", "0.25", "--log", log]));
        assert_eq!(outcome.code, 0);
        // With no progress shown there may still be notes; without any log there is nothing.
        let shown = outcome.err.lines().any(|line| !line.starts_with("note: "));
        assert_eq!(!shown, log == "none" || log == "jsonl", "{log}: {}", outcome.err);
        assert!(log != "none" || outcome.err.is_empty(), "{}", outcome.err);
        if log == "jsonl" {
            let written = std::fs::read_to_string(lab.path(&run).join("metrics.jsonl")).unwrap();
            assert_eq!(outcome.out, written);
        } else {
            assert!(outcome.out.contains("spgraph eval"), "{}", outcome.out);
        }
    }
}

#[test]
fn the_best_state_is_kept() {
    let lab = Lab::new();
    lab.run(&train("ort", "run", &["--epochs", "4", "--val-split", "0.25", "--lr", "0.05"])).ok();
    assert!(names(&lab.path("run")).contains(&"best.safetensors".to_string()));
    let validations: Vec<Value> = metrics(&lab.path("run")).into_iter().filter(|r| r["kind"] == "validation").collect();
    assert_eq!(validations.len(), 4);
    assert!(validations.iter().all(|v| v["images"] == 6));
    let key = |v: &Value| (v["accuracy"].as_f64().unwrap(), -v["loss"].as_f64().unwrap());
    let best = validations.iter().fold(&validations[0], |best, v| if key(v) > key(best) { v } else { best });
    let kept = &record(&lab.path("run"))["results"]["best"];
    assert_eq!((&kept["step"], &kept["accuracy"], &kept["loss"]), (&best["step"], &best["accuracy"], &best["loss"]));
    // The same folder for validation gives the same numbers as `eval --state best` on it.
    let s = shared();
    let val = ["--epochs", "3", "--val-data", s.images.as_str(), "--lr", "0.05"];
    lab.run(&train("ort", "other", &val)).ok();
    let kept = record(&lab.path("other"))["results"]["best"].clone();
    let found = lab.run(&["eval", "other", "--data", &s.images, "--state", "best", "--engine", "ort", "--json"]).json();
    assert_eq!(found["accuracy"], kept["accuracy"]);
    assert!((found["loss"].as_f64().unwrap() - kept["loss"].as_f64().unwrap()).abs() < 1e-6);
    lab.run(&["export", "other", "--state", "best", "-o", "best.onnx"]).ok();
    let exported = lab.run(&["eval", "best.onnx", "--data", &s.images, "--engine", "ort", "--json"]).json();
    assert_eq!(exported["accuracy"], kept["accuracy"]);
}

#[test]
fn another_setting_cannot_be_resumed() {
    let lab = Lab::new();
    // A run that was killed: its last checkpoint is that of step 4.
    let mut child = lab.command(&train("ort", "run", &["--steps", "5000", "--checkpoint-every", "4", "--log", "none"])).spawn().unwrap();
    let checkpoint = lab.path("run/checkpoint.safetensors");
    while !checkpoint.is_file() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let s = shared();
    let resume = |more: &[&str], code: i32, parts: &[&str]| {
        let before = state_of_checkpoint(&lab);
        lab.run(&[&["finetune", "--resume", "-o", "run", "--log", "none"], more].concat()).refused(code, parts);
        assert!(state_of_checkpoint(&lab) == before);
    };
    for (more, field) in [
        (&["--lr", "3"][..], "--lr: not given before, 3.0 now"),
        (&["--seed", "3"], "--seed: 0 before, 3 now"),
        (&["--schedule", "constant"], "--schedule: \"step:0.1@0.6666666666666666\" before, \"constant\" now"),
        (&["--augment", "flip-crop"], "augment"),
        (&["--val-split", "0.5"], "--val-data or --val-split"),
        (&["--data", s.five.as_str()], "data"),
    ] {
        let code = if more[0] == "--data" { 1 } else { 2 };
        if code == 2 {
            resume(more, code, &["cannot be resumed with other options", field, "Leave them away"]);
        } else {
            resume(more, code, &["5 class folders"]);
        }
    }
    lab.run(&["rewrite", &s.model, "--batch", "4", "--penalty", "l2", "-o", "other"]).ok();
    resume(&["other"], 2, &["its bundle is another one"]);
    // And without --resume the run is not lost by accident.
    lab.refuses(&train("ort", "run", &["--steps", "1"]), 2, &["holds a run already", "--resume", "--force"]);
}

fn state_of_checkpoint(lab: &Lab) -> Vec<u8> {
    std::fs::read(lab.path("run/checkpoint.safetensors")).unwrap()
}
