//! Mixed precision from the command line: who runs it, who doesn't and why, and that a run of it is one like any other.

use crate::support::{Lab, shared};
use spgraph::error::Error;
use spgraph::storage::tensor_file;
use std::collections::BTreeMap;

const TRAIN: [&str; 6] = ["--engine", "ort", "--threads", "1", "--log", "none"];

fn made(lab: &Lab, name: &str, more: &[&str]) {
    lab.run(&[&["rewrite", shared().model.as_str(), "--batch", "4", "-o", name][..], more].concat()).ok();
}

fn train(lab: &Lab, subject: &str, run: &str, more: &[&str]) -> String {
    lab.run(&[&["finetune", subject, "--data", &shared().images, "-o", run][..], &TRAIN, more].concat()).ok()
}

fn state(lab: &Lab, run: &str) -> Vec<u8> {
    std::fs::read(lab.path(run).join("state.safetensors")).unwrap()
}

/// What a run wrote about its steps.
fn steps(lab: &Lab, run: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(lab.path(run).join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records.filter(|r| r.get("lr").is_some() && r.get("wait").is_some()).collect()
}

#[test]
fn tract_is_refused_with_the_way_out() {
    let (lab, s) = (Lab::new(), shared());
    let rewrite = |precision: &str, parts: &[&str]| {
        lab.refuses(&["rewrite", &s.model, "-o", "b", "--for", "tract", "--precision", precision], 2, parts);
    };
    rewrite("mixed-f16", &["--precision mixed-f16", "tract", "rounded-"]);
    rewrite("mixed-bf16", &["--precision mixed-bf16", "tract", "another runtime"]);
    rewrite("rounded-bf16", &["--precision rounded-bf16", "tract", "another runtime"]);
    made(&lab, "b", &["--precision", "mixed-f16"]);
    let args = ["finetune", "b", "--data", &s.images, "--steps", "1", "-o", "run", "--engine", "tract"];
    lab.refuses(&args, 2, &["--precision mixed-f16", "tract", "--engine ort"]);
    let args = ["finetune", &s.model, "--data", &s.images, "--steps", "1", "-o", "run", "--engine", "tract", "--precision", "mixed-f16"];
    lab.refuses(&args, 2, &["--precision mixed-f16", "tract", "--engine ort"]);
}

/// It has the conversions to float16 and back.
/// Its optimizer cannot leave a step out that has overflowed; plain SGD's is part of the training model, which can.
#[test]
fn the_training_api_is_refused_with_adamw_and_a_loss_scale() {
    let lab = Lab::new();
    for (optimizer, precision) in [("adamw", "mixed-f16"), ("adamw", "rounded-f16")] {
        made(&lab, precision, &["--precision", precision, "--optimizer", optimizer]);
        let parts = ["AdamW", "loss scale", "another artifact"];
        lab.refuses(&["convert", precision, "--to", "ort-training", "-o", "out"], 2, &parts);
        assert!(!lab.path("out").exists());
    }
    for (optimizer, precision) in [("sgd", "mixed-f16"), ("adamw", "rounded-bf16")] {
        made(&lab, optimizer, &["--precision", precision, "--optimizer", optimizer]);
        lab.run(&["convert", optimizer, "--to", "ort-training", "-o", &format!("{optimizer}.ort")]).ok();
    }
}

#[test]
fn tract_trains_what_is_rounded_to_float16() {
    let lab = Lab::new();
    made(&lab, "b", &["--precision", "rounded-f16", "--for", "tract"]);
    let args = ["finetune", "b", "--data", &shared().images, "--steps", "2", "-o", "run", "--log", "none", "--engine", "tract"];
    lab.run(&args).ok();
    train(&lab, "b", "ort", &["--steps", "2"]);
    let losses = |run: &str| steps(&lab, run).iter().map(|r| r["data_loss"].as_f64().unwrap()).collect::<Vec<_>>();
    let (a, b) = (losses("run"), losses("ort"));
    assert!(a.len() == 2 && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 2e-2 * b), "{a:?} and {b:?}");
}

#[test]
fn what_asks_for_two_precisions_is_refused() {
    let (lab, s) = (Lab::new(), shared());
    made(&lab, "b", &["--precision", "rounded-f16"]);
    let with = |more: &[&str], parts: &[&str]| {
        let args = [&["finetune", "b", "--data", &s.images, "--steps", "1", "-o", "run", "--engine", "ort"][..], more].concat();
        lab.refuses(&args, 2, parts);
    };
    with(&["--kernels", "native"], &["--precision rounded-f16", "--kernels native", "--precision bf16"]);
    with(&["--precision", "bf16"], &["--precision rounded-f16", "native kernels", "leave it out"]);
    let typo = lab.run(&["rewrite", &s.model, "-o", "c", "--precision", "mixed-fp16"]);
    assert!(typo.code == 2 && typo.err.contains("mixed-f16"), "{typo:?}");
}

#[test]
fn bfloat16_needs_opset_22_and_is_not_for_the_processor() {
    let (lab, s) = (Lab::new(), shared());
    lab.refuses(
        &["rewrite", &s.model, "-o", "b", "--precision", "mixed-bf16", "--opset", "21"],
        2,
        &["--opset 21", "bfloat16", "--precision mixed-bf16", "22"],
    );
    lab.refuses(&["rewrite", &s.model, "-o", "b", "--precision", "mixed-bf16", "--for", "ort"], 2, &["mixed-bf16", "ort", "rounded-"]);
    made(&lab, "b", &["--precision", "mixed-bf16"]);
    let parts = ["--precision mixed-bf16", "CPU provider", "--device cuda", "rounded-bf16", "--precision bf16"];
    lab.refuses(&["finetune", "b", "--data", &s.images, "--steps", "1", "-o", "run", "--engine", "ort"], 2, &parts);
    lab.refuses(&["profile", "b", "--engine", "ort"], 2, &parts);
}

/// Loss scale and count are state like any other.
#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits() {
    let lab = Lab::new();
    for precision in ["mixed-f16", "rounded-f16"] {
        let both = ["--batch", "4", "--schedule", "constant", "--precision", precision];
        let [whole, parts] = ["whole", "parts"].map(|kind| format!("{precision}-{kind}"));
        train(&lab, &shared().model, &whole, &[&both[..], &["--steps", "5"]].concat());
        train(&lab, &shared().model, &parts, &[&both[..], &["--steps", "3"]].concat());
        lab.run(&["finetune", "--resume", "-o", &parts, "--steps", "+2", "--log", "none"]).ok();
        assert!(state(&lab, &whole) == state(&lab, &parts), "{precision}: other weights in two parts");
        let optimizer = |run: &str| {
            let (_, tensors) = tensor_file::read_plain(&lab.path(run).join("optimizer.safetensors"), Error::data).unwrap();
            tensors.into_iter().map(|(name, t)| (name, t.to_f64().unwrap())).collect::<BTreeMap<_, _>>()
        };
        let (a, b) = (optimizer(&whole), optimizer(&parts));
        assert_eq!(a, b, "{precision}");
        assert!(a["optimizer.loss_scale"][0] >= 1.0 && a.contains_key("optimizer.good_steps"), "{:?}", a.keys());
        assert!(steps(&lab, &parts).iter().all(|r| r["loss_scale"].as_f64() > Some(0.0)));
    }
}

#[test]
fn the_summary_says_how_many_steps_were_skipped() {
    let lab = Lab::new();
    let text = train(&lab, &shared().model, "run", &["--batch", "4", "--precision", "rounded-f16", "--steps", "4"]);
    let skipped = steps(&lab, "run").iter().filter(|r| r["skipped"] == true).count();
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("run").join("run.json")).unwrap()).unwrap();
    assert_eq!(record["results"]["skipped"].as_u64().unwrap_or(0), skipped as u64);
    assert_eq!(text.contains("of them skipped"), skipped > 0, "{text}");
}

/// Whatever else a training does.
#[test]
fn it_goes_together_with_everything_else() {
    let lab = Lab::new();
    let s = shared();
    for (name, options) in [
        ("freeze", &["--freeze", "*conv*"][..]),
        ("split", &["--split"]),
        ("delta", &["--regularizer", "delta"]),
        ("prox", &["--penalty", "l1-sp", "--prox"]),
        ("head", &["--classes", "3"]),
    ] {
        made(&lab, name, &[&["--precision", "rounded-f16"][..], options].concat());
        train(&lab, name, &format!("{name}-run"), &["--steps", "2"]);
        assert!(steps(&lab, &format!("{name}-run")).iter().all(|r| r["loss"].as_f64().is_some_and(f64::is_finite)), "{name}");
    }
    train(
        &lab,
        &s.model,
        "head-first",
        &["--batch", "4", "--precision", "rounded-f16", "--classes", "3", "--head-first", "2", "--steps", "4"],
    );
    assert_eq!(steps(&lab, "head-first").len(), 4);
}

#[test]
fn inspect_says_what_is_half_and_what_is_not() {
    let lab = Lab::new();
    for precision in ["mixed-f16", "rounded-f16", "mixed-bf16"] {
        made(&lab, precision, &["--precision", precision]);
        let text = lab.run(&["inspect", precision]).ok();
        assert!(text.contains(&format!("precision   {precision}")) && text.contains("half        "), "{text}");
        let found = lab.run(&["inspect", precision, "--json"]).json();
        let [half, float] = ["half", "float32"].map(|kind| found["precision"][kind].as_object().unwrap().clone());
        assert!(half.contains_key("Conv") && half.contains_key("Gemm") && half.contains_key("ConvInputGrad"), "{half:?}");
        assert!(["Conv", "Gemm", "MatMul"].iter().all(|op| !float.contains_key(*op)), "{float:?}");
        assert!(float.contains_key("SgdUpdate"), "{float:?}");
    }
    let [mixed, rounded] = ["mixed-f16", "rounded-f16"].map(|name| lab.run(&["inspect", name, "--json"]).json()["precision"].clone());
    assert_eq!(mixed["half"], rounded["half"], "the same nodes in both forms");
    assert!(lab.run(&["inspect", &shared().bundle, "--json"]).json()["precision"].is_null());
}
