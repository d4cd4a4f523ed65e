//! `inspect` for people and programs.

use crate::support::{Lab, fixture, shared};

/// In the fixtures' folder, so that the snapshots hold no path of this machine.
fn inspect(args: &[&str]) -> String {
    let lab = Lab::new();
    let mut command = lab.command(&[&["inspect"], args].concat());
    command.current_dir(fixture(""));
    crate::support::Outcome::of(command.output().unwrap()).ok()
}

#[test]
fn text_of_a_network_with_live_batch_norm() {
    insta::assert_snapshot!(inspect(&["basic.bn.onnx"]));
}

#[test]
fn text_of_a_folded_network_has_aliases() {
    insta::assert_snapshot!(inspect(&["basic.onnx"]));
}

#[test]
fn json_of_a_network() {
    let text = inspect(&["basic.onnx", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let parameters = json["parameters"].as_array().unwrap();
    let elements = |p: &serde_json::Value| p["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).product::<u64>();
    assert_eq!(json["elements"], parameters.iter().map(elements).sum::<u64>());
    insta::assert_snapshot!(text);
}

#[test]
fn what_the_file_says_about_itself() {
    let lab = Lab::new();
    let json = lab.run(&["inspect", &shared().model, "--json"]).json();
    // The published size of ResNet-20 with projections for 3 classes (see src/zoo), and two statistics for each of 688 channels.
    let kinds = |wanted: &[&str]| -> u64 {
        let found = json["parameters"].as_array().unwrap().iter().filter(|p| wanted.contains(&p["kind"].as_str().unwrap()));
        found.map(|p| p["elements"].as_u64().unwrap()).sum()
    };
    let convolutions = 3 * 16 * 9 + 6 * 16 * 16 * 9 + 16 * 32 * 9 + 5 * 32 * 32 * 9 + 16 * 32 + 32 * 64 * 9 + 5 * 64 * 64 * 9 + 32 * 64;
    assert_eq!(kinds(&["weight"]), convolutions + 64 * 3);
    let channels = 7 * 16 + 7 * 32 + 7 * 64;
    assert_eq!((kinds(&["scale"]), kinds(&["shift"]), kinds(&["mean", "variance"])), (channels, channels, 2 * channels));
    assert_eq!((json["head"]["features"].as_u64(), json["head"]["classes"].as_u64()), (Some(64), Some(3)));
    assert_eq!(json["batch_norm"], "live, 21 nodes");
    assert_eq!(json["bytes"], std::fs::metadata(&shared().model).unwrap().len());
    // A tuned model knows its classes.
    lab.run(&["export", &shared().run, "-o", "tuned.onnx"]).ok();
    let tuned = lab.run(&["inspect", "tuned.onnx", "--json"]).json();
    assert_eq!(tuned["classes"], serde_json::json!(["bricks", "cells", "plaid"]));
    assert_eq!(tuned["preprocessing"]["resize"], 16);
}

/// In the bundle's folder, so that the snapshot holds no path of this machine.
fn memory(args: &[&str]) -> crate::support::Outcome {
    let mut command = Lab::new().command(&[&["inspect", "m.spgraph", "--memory"], args].concat());
    command.current_dir(std::path::Path::new(&shared().bundle).parent().unwrap());
    crate::support::Outcome::of(command.output().unwrap())
}

#[test]
fn memory_of_a_bundle() {
    insta::assert_snapshot!(memory(&["--kernels", "standard"]).ok());
}

#[test]
fn memory_adds_up() {
    let json = memory(&["--json", "--batch", "4", "--kernels", "standard"]).json();
    let categories = json["categories"].as_array().unwrap();
    let of = |name: &str| categories.iter().find(|c| c["name"] == name).unwrap()["bytes"].as_u64().unwrap();
    assert_eq!(json["peak_bytes"].as_u64().unwrap(), categories.iter().map(|c| c["bytes"].as_u64().unwrap()).sum::<u64>());
    // Images of 3×16×16 floats, labels, and the scalars.
    assert!((4 * (3 * 16 * 16 * 4 + 8)..4 * (3 * 16 * 16 * 4 + 8) + 64).contains(&of("feeds")));
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(format!("{}/manifest.json", shared().bundle)).unwrap()).unwrap();
    let elements = |s: &serde_json::Value| s["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).product::<u64>();
    assert_eq!(of("state"), 2 * 4 * manifest["state"].as_array().unwrap().iter().map(elements).sum::<u64>());
    assert_eq!(json["largest"].as_array().unwrap().len(), 10);
}

/// Native kernels have no values within functions, and update weights where they lie. Without `--kernels` it is those that would run.
#[test]
fn memory_with_the_kernels_that_would_run() {
    let peak = |kernels: &[&str]| {
        let json = memory(&[&["--json"], kernels].concat()).json();
        (json["kernels"].as_str().unwrap().to_string(), json["peak_bytes"].as_u64().unwrap())
    };
    let (native, standard) = (peak(&["--kernels", "native"]), peak(&["--kernels", "standard"]));
    assert!(native.0.starts_with("native (") && standard.0 == "standard", "{native:?} {standard:?}");
    assert!(native.1 < standard.1, "{native:?} {standard:?}");
    let chosen = peak(&[]);
    assert!(chosen == native || chosen == standard, "{chosen:?}");
}

/// Native kernels compute most of a step of a residual network, and one image is laid out anew for them: the batch.
#[test]
fn kernels_of_a_bundle() {
    let lab = Lab::new();
    let plan = |kernels: &str| lab.run(&["inspect", &shared().bundle, "--kernels", kernels, "--json"]).json();
    let (native, standard) = (plan("native"), plan("standard"));
    let bytes = |plan: &serde_json::Value| {
        let left = plan["standard"].as_array().unwrap().iter().map(|o| o["bytes"].as_u64().unwrap()).sum::<u64>();
        (plan["native_bytes"].as_u64().unwrap(), left)
    };
    assert!(native["kernels"].as_str().unwrap().starts_with("native ("), "{native}");
    assert_eq!((&native["layout_changes"], &standard["native"], &standard["kernels"]), (&1.into(), &0.into(), &"standard".into()));
    let ((by_native, left), (none, all)) = (bytes(&native), bytes(&standard));
    assert!(by_native > 10 * left && none == 0 && all > by_native + left, "{by_native} {left} {none} {all}");
    let text = lab.run(&["inspect", &shared().bundle, "--kernels"]).ok();
    assert!(text.contains("left to ONNX Runtime's own kernels") && text.contains("images laid out anew"), "{text}");
    lab.refuses(&["inspect", &shared().model, "--kernels", "native"], 1, &["is no folder", "spgraph rewrite"]);
}

/// Whatever asks about a bundle's step asks a run's bundle where it is given the run.
#[test]
fn a_run_stands_for_its_bundle() {
    let lab = Lab::new();
    for asked in [&["--memory"][..], &["--kernels"], &["--precision", "bf16"], &["--memory", "--kernels", "standard"]] {
        let json = |path: &str| lab.run(&[&["inspect", path, "--json"], asked].concat()).json();
        assert_eq!(json(&shared().run), json(&shared().bundle), "{asked:?}");
    }
    // Where the device's table says that some nodes are off it, the exit code does; what is said is the same.
    let placed = |path: &str| lab.run(&["inspect", path, "--device", "cuda", "--json"]);
    let (run, bundle) = (placed(&shared().run), placed(&shared().bundle));
    assert_eq!((run.code, run.out), (bundle.code, bundle.out));
}

#[test]
fn memory_of_what_is_no_bundle() {
    let lab = Lab::new();
    lab.refuses(&["inspect", &shared().model, "--memory"], 1, &["is no folder", "spgraph rewrite"]);
    lab.refuses(&["inspect", "missing", "--memory"], 1, &["missing does not exist", "spgraph rewrite"]);
    lab.refuses(&["inspect", &shared().images, "--memory"], 1, &["no manifest.json", "spgraph rewrite"]);
    lab.refuses(&["inspect", &shared().bundle, "--memory", "--batch", "5"], 2, &["--batch 5 does not fit", "batches of 4"]);
}
