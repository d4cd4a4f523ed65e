//! Images of bfloat16 between native kernels, from the command line.

use crate::support::{Lab, shared};

fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let s = shared();
    let all = ["finetune", s.bundle.as_str(), "--data", &s.images, "--engine", "ort", "--log", "none", "--steps"];
    [&all[..], more].concat()
}

fn state(lab: &Lab, run: &str) -> Vec<u8> {
    std::fs::read(lab.path(run).join("state.safetensors")).unwrap()
}

#[test]
fn bf16_is_refused_where_there_are_no_native_kernels() {
    let lab = Lab::new();
    for other in [["--engine", "tract"], ["--device", "cuda"]] {
        let s = shared();
        let args =
            ["finetune", s.bundle.as_str(), "--data", &s.images, "--steps", "1", "-o", "run", "--precision", "bf16", other[0], other[1]];
        lab.refuses(&args, 2, &["--precision bf16", "ONNX Runtime on the CPU", "--engine ort", "--device cpu"]);
    }
    lab.refuses(
        &train(&["1", "-o", "run", "--precision", "bf16", "--kernels", "standard"]),
        2,
        &["--precision bf16", "--kernels standard"],
    );
    let typo = lab.run(&train(&["1", "-o", "run", "--precision", "bf17"]));
    assert!(typo.code == 2 && typo.err.contains("bf17") && typo.err.contains("float32, bf16"), "{typo:?}");
    assert!(!lab.path("run").exists());
}

/// A run says what it computed with, repeats, and goes on, to the same bits; those are others than float32's.
#[test]
fn a_run_repeats_and_goes_on() {
    let lab = Lab::new();
    lab.run(&train(&["4", "-o", "whole", "--precision", "bf16", "--threads", "1"])).ok();
    lab.run(&train(&["4", "-o", "float", "--precision", "float32", "--threads", "1"])).ok();
    lab.run(&train(&["4", "-o", "auto", "--threads", "1"])).ok();
    lab.run(&train(&["2", "-o", "parts", "--precision", "bf16", "--threads", "2"])).ok();
    lab.run(&["finetune", "--resume", "-o", "parts", "--steps", "+2", "--log", "none"]).ok();
    lab.run(&["finetune", "--config", "whole/config.toml", "-o", "again", "--log", "none"]).ok();
    let record = std::fs::read_to_string(lab.path("whole").join("run.json")).unwrap();
    assert!(record.contains("bf16"), "{record}");
    assert!(state(&lab, "whole") == state(&lab, "again"), "the configuration gives other weights");
    assert!(state(&lab, "auto") == state(&lab, "float"), "auto is float32");
    assert!(state(&lab, "whole") == state(&lab, "parts"), "other weights in two parts and with other threads");
    let losses = |run: &str| -> Vec<f64> {
        let text = std::fs::read_to_string(lab.path(run).join("metrics.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        records.filter_map(|r| r["loss"].as_f64()).collect()
    };
    let (half, float) = (losses("whole"), losses("float"));
    assert!(half != float && half.iter().zip(&float).all(|(a, b)| (a - b).abs() < 0.02 * b), "{half:?} for {float:?}");
}

#[test]
fn what_is_bf16_is_listed_and_takes_less_memory() {
    let lab = Lab::new();
    let s = shared();
    let text = lab.run(&["inspect", &s.bundle, "--precision", "bf16"]).ok();
    assert!(text.contains("bf16"), "{text}");
    let peak = |more: &[&str]| {
        let args = [&["inspect", s.bundle.as_str(), "--memory", "--kernels", "native", "--json"][..], more].concat();
        lab.run(&args).json()["peak_bytes"].as_u64().unwrap() as f64
    };
    let (half, float) = (peak(&["--precision", "bf16"]), peak(&[]));
    assert!(half < float, "{half} bytes for {float}");
    let plan = lab.run(&["inspect", &s.bundle, "--precision", "bf16", "--json"]).json();
    assert_eq!(plan["conversions"], 0, "{plan}");
    assert!(plan["float32_images"].as_array().is_some_and(|kept| kept.is_empty()), "{plan}");
}

/// Accuracy and probabilities stay where they are, as far as eight bits of mantissa say.
#[test]
fn evaluation() {
    let lab = Lab::new();
    let s = shared();
    let eval =
        |precision: &str| lab.run(&["eval", &s.run, "--data", &s.images, "--engine", "ort", "--precision", precision, "--json"]).json();
    let (half, float) = (eval("bf16"), eval("float32"));
    let (a, b) = (half["loss"].as_f64().unwrap(), float["loss"].as_f64().unwrap());
    assert!(a != b && (a - b).abs() < 0.02 * b.max(0.1), "{a} for {b}");
}
