//! Requests that make no sense: exit code 2, and nothing is written.

use crate::support::{Lab, Outcome, fixture, shared};

/// Errors that the argument parser finds have its layout, with a hint at --help.
fn parser_refuses(lab: &Lab, args: &[&str], parts: &[&str]) {
    let before = lab.files();
    let Outcome { code, out, err } = lab.run(args);
    assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    assert!(err.starts_with("error: ") && err.contains("--help") && !err.contains("panicked"), "{args:?}: {err}");
    parts.iter().for_each(|part| assert!(err.contains(part), "{args:?}: no `{part}` in {err}"));
    assert_eq!(lab.files(), before, "{args:?}");
}

#[test]
fn the_parser_names_what_it_does_not_know() {
    let lab = Lab::new();
    let model = shared().model.as_str();
    parser_refuses(&lab, &["rewrit", model], &["rewrit", "'rewrite'"]);
    parser_refuses(&lab, &["rewrite", model, "--bogus"], &["--bogus"]);
    parser_refuses(&lab, &["rewrite"], &["<MODEL>"]);
    parser_refuses(&lab, &["rewrite", model, "--batch-norm", "melted"], &["melted", "train, frozen"]);
    parser_refuses(&lab, &["rewrite", model, "--dialect", "latin"], &["latin", "functions, inlined"]);
    parser_refuses(&lab, &["rewrite", model, "--head", "loose"], &["loose", "keep"]);
    parser_refuses(&lab, &["rewrite", model, "--batch", "some"], &["some", "dynamic"]);
    parser_refuses(&lab, &["rewrite", model, "--classes", "five"], &["five"]);
    parser_refuses(&lab, &["rewrite", model, "--classes", "5", "--head", "keep"], &["--classes", "--head"]);
    for shape in ["3x0x224", "3,16,16", "x", "", "3x", "-3x16x16", "3x99999999999999999999x1"] {
        parser_refuses(&lab, &["rewrite", model, &format!("--input-shape={shape}")], &["--input-shape"]);
        parser_refuses(&lab, &["inspect", model, &format!("--input-shape={shape}")], &["--input-shape"]);
    }
    parser_refuses(&lab, &["new", "resnet21", "--classes", "2", "-o", "x"], &["resnet21", "resnet20"]);
    parser_refuses(&lab, &["new", "resnet20", "--classes", "2", "--input", "3x0x8", "-o", "x"], &["3x0x8"]);
    parser_refuses(&lab, &["synth", "--task", "target-c", "-o", "x"], &["target-c", "target-b"]);
    let bundle = shared().bundle.as_str();
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--engine", "steam"], &["steam", "auto, tract, ort"]);
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--device", "tpu"], &["tpu", "cpu, cuda"]);
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--schedule", "stairs"], &["stairs", "constant, step, step:FACTOR"]);
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--augment", "spin"], &["spin", "flip-crop"]);
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--epochs", "1", "--steps", "2"], &["--epochs", "--steps"]);
    parser_refuses(&lab, &["finetune", "-o", "r", "--resume", "--force"], &["--resume", "--force"]);
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--lr", "fast"], &["fast"]);
    for number in ["0", "65535", "-1"] {
        parser_refuses(&lab, &["finetune", bundle, "-o", "r", &format!("--threads={number}")], &["--threads"]);
    }
    parser_refuses(&lab, &["finetune", bundle, "-o", "r", "--workers", "100000"], &["--workers"]);
    parser_refuses(&lab, &["predict", bundle], &["<IMAGES>"]);
    parser_refuses(&lab, &["export", bundle], &["--output"]);
    parser_refuses(&lab, &["eval", bundle, "--data", "x", "--state", "worst"], &["worst", "best"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    let (model, basic) = (shared().model.as_str(), fixture("basic.onnx"));
    let rewrite = |more: &[&str], parts: &[&str]| lab.refuses(&[&["rewrite", model, "-o", "b"], more].concat(), 2, parts);
    rewrite(&["--penalty", "l3"], &["l3", "l2-sp"]);
    rewrite(&["--batch", "0"], &["--batch 0"]);
    rewrite(&["--classes", "1"], &["--classes 1"]);
    rewrite(&["--classes", "99999999999999999"], &["--classes 99999999999999999 is not possible"]);
    rewrite(&["--batch", "9223372036854775807"], &["is not possible"]);
    rewrite(&["--input-shape", "3x16"], &["3x16", "has 2 sizes"]);
    rewrite(&["--lr", "-1"], &["--lr -1"]);
    rewrite(&["--lr", "nan"], &["--lr NaN"]);
    rewrite(&["--momentum", "1"], &["--momentum 1"]);
    rewrite(&["--label-smoothing", "1"], &["--label-smoothing 1"]);
    rewrite(&["--alpha", "-1"], &["--alpha -1"]);
    rewrite(&["--beta", "inf"], &["--beta inf"]);
    rewrite(&["--penalty", "none", "--alpha", "1"], &["--alpha", "--penalty none"]);
    rewrite(&["--freeze", "no.such.*"], &["no.such.*", "conv1.weight", "spgraph inspect"]);
    rewrite(&["--freeze", "*"], &["every parameter is frozen"]);
    rewrite(&["--mean", "0.5,0.5"], &["--mean", "3 channels", "2 mean"]);
    rewrite(&["--std", "0,1,1"], &["--std", "above 0"]);
    rewrite(&["--resize", "3"], &["--resize", "16×16"]);
    rewrite(&["--resize", "3", "--mean", "0,0,0", "--std", "1,1,1"], &["--resize", "16×16"]);
    lab.refuses(&["rewrite", &basic, "-o", "b", "--batch-norm", "train"], 2, &["--batch-norm train", "no live BatchNormalization"]);
    lab.refuses(&["rewrite", "/"], 2, &["/", "ONNX model"]);
    lab.refuses(&["new", "resnet20", "--classes", "0", "-o", "x"], 2, &["0 classes"]);
    lab.refuses(&["synth", "--task", "source", "--per-class", "0", "-o", "x"], 2, &["0 images per class"]);
    lab.refuses(&["synth", "--task", "source", "--size", "7", "-o", "x"], 2, &["7×7"]);

    let (bundle, data) = (shared().bundle.as_str(), shared().images.as_str());
    let train = |more: &[&str], parts: &[&str]| {
        lab.refuses(&[&["finetune", bundle, "-o", "r", "--data", data, "--engine", "tract"], more].concat(), 2, parts);
    };
    lab.refuses(&["finetune", "-o", "r", "--data", data, "--steps", "1"], 2, &["give what to train"]);
    lab.refuses(&["finetune", bundle, "-o", "r", "--steps", "1"], 2, &["--data is missing"]);
    train(&["--steps", "0"], &["0 steps"]);
    train(&["--epochs", "0"], &["0 steps"]);
    train(&["--steps", "1", "--lr", "-0.1"], &["--lr -0.1"]);
    train(&["--steps", "1", "--batch", "7"], &["--batch 7", "4 images per step"]);
    train(&["--steps", "1", "--val-split", "2"], &["2", "between 0 and 1"]);
    train(&["--steps", "1", "--color", "1.5"], &["--color 1.5"]);
    train(&["--steps", "1", "--checkpoint-every", "0"], &["--checkpoint-every 0"]);
    let run = shared().run.as_str();
    lab.refuses(&["eval", run, "--data", data, "--state", "best"], 2, &["best.safetensors", "--val-split"]);
    lab.refuses(&["eval", run, "--data", data, "--state", "checkpoint"], 2, &["checkpoint.safetensors", "complete"]);
    lab.refuses(&["eval", model, "--data", data, "--head-from", model], 2, &["--head-from", "run or a bundle"]);
    lab.refuses(&["export", model, "-o", "x"], 2, &["is an ONNX model as it was made", "give one of these"]);
    lab.refuses(&["finetune", "--resume", "-o", run], 2, &["is complete", "spgraph export"]);
    lab.refuses(&["finetune", "--resume", "-o", "nowhere"], 1, &["nowhere does not exist"]);
    lab.refuses(&["finetune", "--resume", "-o", data], 1, &["is no run"]);
}

#[test]
fn help_describes_every_option() {
    let lab = Lab::new();
    let help = lab.run(&["--help"]).ok();
    for command in
        ["inspect", "rewrite", "finetune", "eval", "predict", "export", "runtime", "new", "synth", "fisher", "attention", "interpolate"]
    {
        assert!(help.contains(&format!("  {command} ")), "{help}");
        let text = lab.run(&[command, "--help"]).ok();
        let text = text.split("Examples:").next().unwrap();
        let options = text.lines().filter(|l| l.starts_with("      --") || l.starts_with("  -")).map(str::trim);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for option in options {
            let at = lines.iter().position(|l| *l == option).unwrap();
            // The description is in the same line, or in the next.
            let described = option.contains("  ") || lines.get(at + 1).is_some_and(|l| !l.is_empty() && !l.starts_with(['-', '[']));
            assert!(described, "{command}: {option} has no description");
        }
    }
    // Without a subcommand the same help comes, as an error.
    assert_eq!(lab.run(&[]).code, 2);
    assert!(lab.run(&["--version"]).ok().starts_with("spgraph "));
}
