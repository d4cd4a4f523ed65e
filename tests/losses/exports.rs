//! What is exported is the form for inference, and is run beside the run's network before it is written.

use super::models::{CLASSES, Net, images, int};
use super::shared::engine;
use spgraph::artifact::make_bundle;
use spgraph::bundle::{Bundle, Options};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{self, pb, to_proto};
use spgraph::storage::seal;
use spgraph::train::{RunState, Subject, export_tuned};
use std::path::Path;

/// What an exporter writes behind the features.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Norm {
    None,
    Inference,
    /// With as many outputs.
    Training(usize),
}

fn net(opset: i64, norm: Norm, drops: Option<bool>) -> Net {
    let mut net = Net::new();
    net.opset = opset;
    let logits = net.nodes.pop().unwrap();
    let mut at = "features".to_string();
    if norm != Norm::None {
        let values: [[f32; CLASSES]; 4] =
            [[1.0, 0.5, -1.0, 2.0, 0.7], [0.1, 0.2, 0.3, -0.4, 0.0], [0.3, 0.1, 0.5, 0.2, 0.0], [0.5, 2.0, 1.0, 0.3, 0.8]];
        let tensors: Vec<Tensor> = values.iter().map(|v| Tensor::from_f32(&[CLASSES], v)).collect();
        let (attribute, outputs) = match norm {
            // Before opset 14 the number of outputs says the mode.
            Norm::Training(n) if opset < 14 => (vec![], n),
            Norm::Training(n) => (vec![int("training_mode", 1)], n),
            _ => (vec![], 1),
        };
        at = net.then(&at, "BatchNormalization", attribute, &tensors);
        let node = net.nodes.last_mut().unwrap();
        node.output.extend((1..outputs).map(|i| format!("statistic{i}")));
    }
    if let Some(training) = drops {
        let further = match opset < 12 {
            true => vec![],
            false => vec![Tensor::from_f32(&[], &[0.5]), Tensor::new(DType::Bool, vec![], vec![training as u8]).unwrap()],
        };
        at = net.then(&at, "Dropout", vec![], &further);
        net.nodes.last_mut().unwrap().output.push("mask".into());
    }
    net.nodes.push(pb::NodeProto { input: [vec![at], logits.input[1..].to_vec()].concat(), ..logits });
    net.output("z", &[0, CLASSES as i64]);
    net
}

fn run(path: &Path, choice: EngineChoice, count: usize) -> Vec<f64> {
    engine(choice).load(path).unwrap().run(&[("x", &images(count))]).unwrap()[0].to_f64().unwrap()
}

/// A bundle of the network.
fn bundle(net: &Net, work: &Path) -> Bundle {
    net.write(&work.join("net.onnx"));
    make_bundle(&work.join("net.onnx"), &work.join("bundle"), &Options::default(), true).unwrap();
    Bundle::open(&work.join("bundle")).unwrap()
}

#[test]
fn a_network_exported_in_training_mode_comes_out_for_inference() {
    let work = tempfile::tempdir().unwrap();
    let (out, plain) = (work.path().join("out.onnx"), work.path().join("plain.onnx"));
    let mut case = 0;
    for opset in [9, 11, 13, 14, 17] {
        // With as many outputs as runtimes demand.
        let training = [Norm::Training(if opset < 14 { 5 } else { 3 }); 2];
        for norm in [&[Norm::None, Norm::Inference][..], &training].concat() {
            // In another order for each opset.
            case += 1;
            let drops = [Some(true), None, Some(false)][case % 3];
            let what = format!("opset {opset}, {norm:?}, dropout {drops:?}");
            bundle(&net(opset, norm, drops), work.path());
            let agreement = export_tuned(&Subject::open(&work.path().join("bundle")).unwrap(), RunState::Final, &out, true);
            let agreement = agreement.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!((agreement.engines.len(), agreement.images), (2, 2), "{what}: {agreement:?}");
            // What the exporter should have written.
            net(opset, if norm == Norm::None { norm } else { Norm::Inference }, None).write(&plain);
            for count in [1, 3] {
                let (found, expected) = (run(&out, EngineChoice::Ort, count), run(&plain, EngineChoice::Ort, count));
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{what}: {found:?}, {expected:?}");
            }
            let written = onnx::open(&out).unwrap().proto.graph.unwrap();
            for node in &written.node {
                assert!(
                    node.output.len() == 1 && !node.attribute.iter().any(|a| a.name() == "training_mode" && a.i() != 0),
                    "{what}: {node:?}"
                );
            }
        }
    }
}

/// Of a bundle whose template is not what was trained there is no export.
/// As a bundle of an older version, whose files have no hashes: what is changed in it gets as far as the check of the export.
fn without_hashes(dir: &Path) {
    let path = dir.join("manifest.json");
    let mut value = seal::from_json(&std::fs::read_to_string(&path).unwrap()).unwrap().value;
    value.as_object_mut().unwrap().remove("files").unwrap();
    std::fs::write(&path, value.to_string()).unwrap();
}

#[test]
fn an_export_that_gives_something_else_is_refused() {
    let work = tempfile::tempdir().unwrap();
    let bundle = bundle(&net(17, Norm::Inference, None), work.path());
    without_hashes(&bundle.dir);
    let whole = onnx::read(bundle.template()).unwrap().proto;
    let graph = |model: &mut pb::ModelProto| model.graph.take().unwrap();
    type Change = fn(&mut pb::GraphProto);
    let changes: &[(&str, Change, &str)] = &[
        ("another operator", |g| g.node.iter_mut().find(|n| n.op_type() == "Relu").unwrap().op_type = Some("Abs".into()), "differs by"),
        (
            "another epsilon",
            |g| {
                let node = g.node.iter_mut().find(|n| n.op_type() == "BatchNormalization").unwrap();
                node.attribute.push(onnx::attributes::attr_float("epsilon", 0.01));
            },
            "differs by",
        ),
        (
            "batch statistics",
            |g| {
                let node = g.node.iter_mut().find(|n| n.op_type() == "BatchNormalization").unwrap();
                node.attribute.push(int("training_mode", 1));
                node.output.extend(["a".to_string(), "b".to_string()]);
            },
            "differs by",
        ),
        (
            "no number",
            |g| {
                let node = g.node.iter_mut().find(|n| n.op_type() == "Relu").unwrap();
                node.op_type = Some("Sqrt".into());
            },
            "differs by NaN",
        ),
        ("another output", |g| g.output[0].name = Some("features".into()), "differs by"),
        (
            "a wrong declaration",
            |g| {
                let ty = g.output[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
                let pb::type_proto::Value::TensorType(t) = ty else { panic!() };
                t.shape.as_mut().unwrap().dim[1].value = Some(pb::tensor_shape_proto::dimension::Value::DimValue(6));
            },
            "",
        ),
    ];
    let out = work.path().join("out.onnx");
    for (what, change, why) in changes {
        let mut model = whole.clone();
        let mut changed = graph(&mut model);
        change(&mut changed);
        model.graph = Some(changed);
        onnx::write(bundle.template(), &model).unwrap();
        let error = export_tuned(&Subject::open(&bundle.dir).unwrap(), RunState::Final, &out, false).expect_err(what).to_string();
        assert!(error.contains(why) && !error.contains(".spgraph-"), "{what}: {error}");
        assert!(!out.exists(), "{what}");
    }
    onnx::write(bundle.template(), &whole).unwrap();
    export_tuned(&Subject::open(&bundle.dir).unwrap(), RunState::Final, &out, false).unwrap();
}

/// A runtime that cannot take the file is named, and another one checks it.
#[test]
fn a_runtime_that_cannot_load_the_file_is_named() {
    let work = tempfile::tempdir().unwrap();
    let bundle = bundle(&net(17, Norm::None, None), work.path());
    without_hashes(&bundle.dir);
    let mut model = onnx::read(bundle.template()).unwrap().proto;
    // An operator that only ONNX Runtime has, which does nothing here.
    let graph = model.graph.as_mut().unwrap();
    let relu = graph.node.iter_mut().find(|n| n.op_type() == "Relu").unwrap();
    (relu.op_type, relu.attribute) = (Some("ThresholdedRelu".into()), vec![onnx::attributes::attr_float("alpha", 0.0)]);
    graph.initializer.push(to_proto("unused", &Tensor::from_f32(&[1], &[0.0])));
    onnx::write(bundle.template(), &model).unwrap();
    let out = work.path().join("out.onnx");
    let agreement = export_tuned(&Subject::open(&bundle.dir).unwrap(), RunState::Final, &out, false).unwrap();
    assert!(!agreement.engines.is_empty() && agreement.engines.len() + agreement.absent.len() == 2, "{agreement:?}");
}
