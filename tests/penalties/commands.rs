//! The options on the command line, from a rewrite to a run and what comes after it.

use spgraph::ir::Tensor;
use spgraph::onnx::{self, SourceModel};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).display().to_string()
}

fn spgraph(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spgraph")).args(arguments).current_dir(dir).output().unwrap()
}

fn done(dir: &Path, arguments: &[&str]) -> String {
    let output = spgraph(dir, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What it says; its exit code is that of a request that makes no sense.
fn refused(dir: &Path, arguments: &[&str]) -> String {
    let output = spgraph(dir, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn explain_has_a_line_for_each_parameter() {
    let work = tempfile::tempdir().unwrap();
    let model = fixture("resnet18.bn.onnx");
    let options = ["--classes", "4", "--alpha", "0.2", "--alpha", "layer4.1.*=0.03", "--freeze-stages", "2", "--sp-exclude", "layer2.0.*"];
    let text = done(work.path(), &[&["rewrite", &model, "-o", "bundle", "--batch", "2", "--explain"], &options[..]].concat());
    let lines: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .take_while(|l| !l.is_empty())
        .map(|l| (l.split_whitespace().next().unwrap(), l.split_whitespace().collect()))
        .collect();
    // The heading, 20 convolutions, each with a BatchNorm of four tensors, and the head's weight and bias.
    assert_eq!(lines.len(), 1 + 20 * 5 + 2);
    let line = |name: &str| lines[name][1..].join(" ");
    assert_eq!(line("conv1.weight"), "shared frozen none --freeze-stages 2 (conv1)");
    assert_eq!(line("layer1.1.bn2.running_var"), "statistic frozen none --freeze-stages 2 (layer1.1)");
    assert_eq!(line("layer2.0.conv1.weight"), "shared trained none --sp-exclude 'layer2.0.*'");
    assert_eq!(line("layer3.0.conv1.weight"), "shared trained l2-sp alpha 0.2 a weight");
    assert_eq!(line("layer3.0.bn1.weight"), "shared trained none a scale, which --penalize leaves out");
    assert_eq!(line("layer3.0.bn1.running_mean"), "statistic updated none");
    assert_eq!(line("layer4.1.conv2.weight"), "shared trained l2-sp alpha 0.03 --alpha 'layer4.1.*=…'");
    assert_eq!(line("fc.weight"), "new trained l2 beta 0.01 a weight, new");
}

#[test]
fn inspect_lists_stages_and_units() {
    let work = tempfile::tempdir().unwrap();
    let text = done(work.path(), &["inspect", &fixture("resnet50.onnx"), "--json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    let units = found["units"].as_array().unwrap();
    let stages: Vec<u64> = units.iter().map(|u| u["stage"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = [(1, 1), (2, 3), (3, 4), (4, 6), (5, 3)].iter().flat_map(|&(stage, units)| vec![stage; units]).collect();
    assert_eq!(stages, expected);
    assert_eq!(units[4]["name"], "layer2.0");
    assert!(done(work.path(), &["inspect", &fixture("resnet50.onnx")]).contains("--freeze-units"));
}

/// Every initializer by name.
fn tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let source: SourceModel = onnx::read(path).unwrap();
    let list = &source.graph().unwrap().initializer;
    list.iter().map(|t| (t.name().to_string(), source.tensor(t).unwrap())).filter(|(_, t)| t.dtype().is_float()).collect()
}

#[test]
fn a_run_says_what_is_at_its_start_and_can_be_interpolated() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path();
    let model = fixture("resnet18.bn.onnx");
    done(dir, &["synth", "--task", "target-b", "--per-class", "4", "-o", "images"]);
    let penalty = ["--penalty", "gl-sp", "--prox", "--alpha", "0.001", "--alpha", "layer4.*=100"];
    done(dir, &[&["rewrite", &model, "-o", "bundle", "--batch", "4"], &penalty[..]].concat());
    let common = ["--data", "images", "--steps", "3", "--lr", "0.01", "--engine", "tract"];
    let text = done(dir, &[&["finetune", "bundle", "-o", "run"], &common[..]].concat());
    let line = text.lines().find(|l| l.starts_with("unmoved")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(dir.join("run/run.json")).unwrap()).unwrap();
    let unmoved = &record["results"]["distance"]["unmoved"];
    assert!(line.contains(&format!("{} of {} shared elements", unmoved["elements"], unmoved["of_elements"])), "{line}");
    for layer in record["results"]["distance"]["layers"].as_array().unwrap() {
        let (name, own) = (layer["name"].as_str().unwrap(), &layer["unmoved"]);
        let weight = name.starts_with("layer4") && (name.contains("conv") || name.contains("downsample.0"));
        if weight {
            assert_eq!((&own["elements"], &own["channels"]), (&own["of_elements"], &own["of_channels"]), "{name}");
            assert_eq!(layer["distance"], 0.0, "{name}");
        }
        if name == "conv1.weight" {
            assert!(own["channels"].as_u64() < own["of_channels"].as_u64(), "{name} did not move at all");
        }
    }

    done(dir, &["export", "run", "-o", "tuned.onnx"]);
    for (to, file) in [("0", "start.onnx"), ("1", "end.onnx"), ("0.25", "quarter.onnx")] {
        done(dir, &["interpolate", "run", "--to", to, "-o", file]);
    }
    let (source, tuned) = (tensors(Path::new(&model)), tensors(&dir.join("tuned.onnx")));
    assert_eq!(tensors(&dir.join("start.onnx")), source);
    assert_eq!(tensors(&dir.join("end.onnx")), tuned);
    assert_ne!(source, tuned);
    for (name, found) in tensors(&dir.join("quarter.onnx")) {
        let (a, b) = (source[&name].to_f64().unwrap(), tuned[&name].to_f64().unwrap());
        let expected: Vec<f64> = a.iter().zip(b).map(|(a, b)| (0.75 * a + 0.25 * b) as f32 as f64).collect();
        assert_eq!(found.to_f64().unwrap(), expected, "{name}");
    }
    assert!(refused(dir, &["interpolate", "run", "--to", "1.5", "-o", "x.onnx"]).contains("--to 1.5 is not between"));
    assert!(refused(dir, &["interpolate", "bundle", "--to", "0.5", "-o", "x.onnx"]).contains("only a run"));

    // Strengths of patterns can be set anew, those of no pattern of the bundle cannot.
    done(dir, &[&["finetune", "bundle", "-o", "run2", "--alpha", "layer4.*=0", "--alpha", "0.002"], &common[..]].concat());
    let other = refused(dir, &[&["finetune", "bundle", "-o", "run3", "--alpha", "layer3.*=1"], &common[..]].concat());
    assert!(other.contains("--alpha 'layer3.*=1'") && other.contains("only for layer4.*"), "{other}");
    let twice = refused(dir, &["rewrite", &model, "-o", "b", "--alpha", "1", "--alpha", "2"]);
    assert!(twice.contains("--alpha is given twice"), "{twice}");
    assert!(refused(dir, &["rewrite", &model, "-o", "b", "--alpha", "=2"]).contains("give a number"));
}
