//! Artifacts from the command line: what is refused, with nothing written, and what is said.

use crate::support::{Lab, shared};

#[test]
fn what_cannot_become_an_artifact_is_refused() {
    let lab = Lab::new();
    let (model, bundle, run) = (&shared().model, &shared().bundle, &shared().run);
    lab.write("plain.txt", "no model").write("full/mine.txt", "mine").write("there.onnx", "old");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["convert", model, "--to", "single", "-o", "x"], 2, &["is a model", "--artifact"]),
        (&["convert", "nothing", "--to", "single", "-o", "x"], 1, &["nothing does not exist"]),
        (&["convert", bundle, "--to", "single", "-o", bundle, "--force"], 2, &["is read"]),
        (&["convert", bundle, "--to", "single", "-o", "full", "--force"], 2, &["was not written by spgraph"]),
        (&["convert", bundle, "--to", "single", "-o", "there.onnx"], 2, &["exists already", "--force"]),
        (&["convert", bundle, "--to", "training-info", "-o", "no/folder/x.onnx"], 2, &["there is no folder"]),
        (&["convert", run, "--to", "single", "--state", "ema", "-o", "x"], 2, &["no moving average"]),
        (&["rewrite", model, "--artifact", "ort-training", "--optimizer", "lars", "-o", "x"], 2, &["lars", "SGD and AdamW"]),
        (&["import-checkpoint", bundle, "plain.txt", "-o", "x"], 1, &["no checkpoint of ONNX Runtime"]),
        (&["import-checkpoint", bundle, "nothing", "-o", "x"], 1, &["cannot read nothing"]),
        (&["grad", model, "--wrt", "input", "--of", "nothing", "-o", "x.onnx"], 2, &["--of must name an output"]),
        (&["grad", model, "--wrt", "input", "--of", "logits", "-o", model, "--force"], 2, &["it is what is read"]),
        (&["lower", "plain.txt", "-o", "x.onnx"], 1, &["is not an ONNX model"]),
    ];
    for (args, code, parts) in cases {
        lab.refuses(args, *code, parts);
    }
}

#[test]
fn words_that_are_none_are_known_before_anything_is_read() {
    let lab = Lab::new();
    let (model, bundle) = (&shared().model, &shared().bundle);
    let cases: &[(&[&str], &str)] = &[
        (&["convert", bundle, "--to", "singel", "-o", "x"], "'single'"),
        (&["rewrite", model, "--for", "openvno", "-o", "x"], "'openvino'"),
        (&["rewrite", model, "--for", "web", "--dialect", "functions", "-o", "x"], "--dialect"),
        (&["grad", model, "--wrt", "pixels", "--of", "logits", "-o", "x.onnx"], "params:PATTERN"),
        (&["grad", model, "--wrt", "input", "--of", ",scalar", "-o", "x.onnx"], "the name of an output"),
    ];
    for (args, word) in cases {
        let found = lab.run(args);
        assert!(found.code == 2 && found.err.contains(word), "{args:?}: {found:?}");
    }
    assert!(lab.files().is_empty());
}

#[test]
fn what_is_chosen_for_a_runtime_is_said() {
    let lab = Lab::new();
    let model = &shared().model;
    for (runtime, said) in [
        ("openvino", "runtime     openvino: standard operators alone, opset 17, HardSigmoid in other operators"),
        ("tract", "runtime     tract: standard operators alone, opset 17, equal nodes as one"),
        ("node", "runtime     node: model-local functions, opset 17"),
    ] {
        let found = lab.run(&["rewrite", model, "--for", runtime, "-o", runtime]);
        assert!(found.code == 0 && found.out.lines().any(|l| l == said), "{found:?}");
    }
}

/// What a run has reached, its momenta with it; where it did not keep those, that is said.
#[test]
fn a_run_s_state_is_taken_and_said() {
    let lab = Lab::new();
    let (bundle, run, images) = (&shared().bundle, &shared().run, &shared().images);
    lab.run(&["convert", bundle, "--to", "single", "-o", "bundle.onnx"]).ok();
    lab.run(&["convert", run, "--to", "single", "--state", "start", "-o", "start.onnx"]).ok();
    let reached = lab.run(&["convert", run, "--to", "single", "-o", "reached.onnx"]);
    assert!(reached.code == 0 && !reached.err.contains("the optimizer begins anew"), "{reached:?}");
    let read = |name: &str| std::fs::read(lab.path(name)).unwrap();
    assert_ne!(read("start.onnx"), read("reached.onnx"));
    lab.run(&["finetune", bundle, "--data", images, "--steps", "1", "--discard-optimizer", "-o", "lost"]).ok();
    let lost = lab.run(&["convert", "lost", "--to", "single", "-o", "lost.onnx"]);
    assert!(lost.code == 0 && lost.err.contains("the optimizer begins anew"), "{lost:?}");
    let said = lab.run(&["convert", bundle, "--to", "ort-training", "-o", "ort"]);
    assert!(said.err.contains("momentum is a part of the training model"), "{said:?}");
    assert!(said.out.contains("nominal_checkpoint"), "{said:?}");
}
