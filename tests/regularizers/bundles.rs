//! The regularizers in whole training graphs. Thirty steps against PyTorch's are in tests/python/test_training.py.

use super::shared::{bundle, distance, engine, refused, strings};
use spgraph::bundle::manifest::{BatchNormMode, Role};
use spgraph::bundle::{Bundle, HeadOption, Options, start_state};
use spgraph::emit::Dialect;
use spgraph::engine::EngineChoice;
use spgraph::import::BatchSize;
use spgraph::ir::Tensor;
use spgraph::loss::{self, Bss, Delta, Lwf, Regularizer};
use spgraph::onnx;
use spgraph::train::{Scalars, TrainingStep};

fn with(kinds: &[&str]) -> Options {
    Options {
        batch: BatchSize::Fixed(3),
        penalty: "none".into(),
        regularizers: kinds.iter().map(|k| loss::find(k).unwrap()).collect(),
        ..Options::default()
    }
}

/// DELTA on the layers that the patterns match.
fn delta(layers: &[&str]) -> Options {
    Options { regularizers: vec![Regularizer::Delta(Delta { layers: strings(layers), ..Delta::default() })], ..with(&[]) }
}

/// `[loss, data_loss, penalty, correct]` of two steps, and the state after them.
fn two_steps(bundle: &Bundle, choice: EngineChoice, scalars: &[(&str, f32)]) -> (Vec<Vec<f64>>, Vec<Tensor>) {
    let m = &bundle.manifest;
    let mut training = TrainingStep::load(engine(choice).as_ref(), bundle, start_state(bundle).unwrap()).unwrap();
    let mut values = Scalars::defaults(m);
    for (name, value) in scalars {
        let setting = name.parse().unwrap();
        if values.get(&setting).is_some() {
            values.set(&setting, f64::from(*value)).unwrap();
        }
    }
    let shape: Vec<usize> = m.data.input.shape.iter().map(|&d| if d < 0 { 3 } else { d as usize }).collect();
    let mut outputs = vec![];
    for step in 0..2 {
        let pixels: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| ((i * 7 + step * 31) as f32 * 0.37).sin()).collect();
        let labels: Vec<i64> = (0..shape[0] as i64).map(|i| (i + step as i64) % 3).collect();
        let (data, target) = (Tensor::from_f32(&shape, &pixels), Tensor::from_i64(&[shape[0]], &labels));
        let found = training.run(&data, &target, &values).unwrap();
        outputs.push(vec![found.loss, found.data_loss, found.penalty, found.correct as f64]);
    }
    (outputs, training.state().unwrap())
}

#[test]
fn engines_and_dialects_agree() {
    let strong = [("delta", 0.5), ("bss", 0.1), ("lwf", 4.0)];
    let all = ["delta", "bss", "lwf"];
    for (model, batch_norm, head, batch, kinds) in [
        ("basic.bn.onnx", Some(BatchNormMode::Train), HeadOption::Classes(4), BatchSize::Fixed(3), &all[..]),
        ("basic.onnx", None, HeadOption::Keep, BatchSize::Fixed(3), &all[..]),
        ("resnet50.bn.onnx", Some(BatchNormMode::Frozen), HeadOption::Classes(4), BatchSize::Fixed(3), &all[..]),
        ("basic.bn.onnx", Some(BatchNormMode::Train), HeadOption::Classes(4), BatchSize::Dynamic, &["delta", "lwf"]),
        ("tokens.onnx", None, HeadOption::Classes(4), BatchSize::Fixed(3), &["lwf"]),
        ("conv_head.onnx", None, HeadOption::Classes(4), BatchSize::Fixed(3), &["bss", "lwf"]),
    ] {
        let mut results = vec![];
        for dialect in [Dialect::Functions, Dialect::Inlined] {
            let options = Options { batch_norm, head: head.clone(), batch, dialect, ..with(kinds) };
            let (_work, bundle) = bundle(model, &options);
            for choice in [EngineChoice::Ort, EngineChoice::Tract] {
                results.push((
                    format!("{model} {dialect:?} {choice:?}"),
                    two_steps(&bundle, choice, &strong),
                    start_state(&bundle).unwrap(),
                ));
            }
        }
        let (_, (outputs, state), start) = &results[0];
        // At the start there is nothing to bring back, but features to shrink, and statistics of the batch to differ from.
        let (first, second) = (outputs[0][2], outputs[1][2]);
        assert!(first >= -1e-6 && second > 1e-6 && second.is_finite(), "{model}: {outputs:?}");
        for (what, (other, other_state), _) in &results[1..] {
            for (a, b) in outputs.iter().flatten().zip(other.iter().flatten()) {
                assert!((a - b).abs() <= 1e-4 * a.abs().max(1e-2), "{what}: {other:?} instead of {outputs:?}");
            }
            let distance = distance(other_state, state, start);
            assert!(distance <= 2e-4, "{what}: the steps differ by {distance:.1e} of their length");
        }
    }
}

#[test]
fn the_source_itself_is_at_no_distance() {
    // The same network with moving statistics on both sides: feature maps and answers of the source classes are equal.
    for head in [HeadOption::Keep, HeadOption::Classes(4)] {
        let options = Options { batch_norm: Some(BatchNormMode::Frozen), head, ..with(&["delta", "lwf"]) };
        let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
        let (outputs, _) = two_steps(&bundle, EngineChoice::Ort, &[("beta", 0.0), ("lr", 0.0)]);
        assert!(outputs.iter().all(|o| o[2].abs() < 1e-6), "{outputs:?}");
    }
}

#[test]
fn strengths_are_inputs_and_new_parameters_keep_beta() {
    let (_work, bundle) = bundle("basic.onnx", &Options { head: HeadOption::Classes(4), ..with(&["delta", "bss", "lwf"]) });
    let scalars: Vec<(&str, f64)> = bundle.manifest.scalars.iter().map(|s| (s.name.as_str(), s.default)).collect();
    assert_eq!(scalars, [("lr", 0.01), ("beta", 0.01), ("delta", 0.01), ("bss", 1e-3), ("lwf", 4.0)]);
    let penalized: Vec<Role> = bundle.manifest.state.iter().filter(|s| s.penalized).map(|s| s.role).collect();
    assert_eq!(penalized, [Role::New]);
    let off = [("delta", 0.0), ("bss", 0.0), ("lwf", 0.0), ("beta", 0.0), ("lr", 0.1)];
    assert!(two_steps(&bundle, EngineChoice::Ort, &off).0.iter().all(|o| o[2] == 0.0));
    for kind in ["delta", "bss", "lwf"] {
        let on: Vec<(&str, f32)> = off.iter().map(|(n, v)| (*n, if *n == kind { 1.0 } else { *v })).collect();
        assert!(two_steps(&bundle, EngineChoice::Ort, &on).0[1][2] > 1e-6, "{kind}");
    }
    let kinds: Vec<&str> = bundle.manifest.regularizers.iter().map(|r| r.kind.as_str()).collect();
    assert_eq!(kinds, ["delta", "bss", "lwf"]);
    assert_eq!(bundle.manifest.regularizers[0].layers, ["1.conv2.weight", "2.conv2.weight"]);
}

#[test]
fn a_penalty_and_a_regularizer_go_together() {
    let options = Options { penalty: "l2-sp".into(), split: true, ..with(&["delta"]) };
    let (_work, bundle) = bundle("basic.onnx", &options);
    let model = onnx::open(bundle.step()).unwrap();
    // The starting point is stored once, for penalty and branch.
    let starts: Vec<&str> = model.graph().unwrap().initializer.iter().map(|t| t.name()).filter(|n| n.contains(".start")).collect();
    let weights = bundle.manifest.state.iter().filter(|s| s.role == Role::Shared && s.penalized).count();
    assert!(starts.len() >= weights && starts.iter().all(|n| n.ends_with(".start")), "{starts:?}");
    let names: Vec<String> = model.proto.functions.iter().map(|f| f.name().to_string()).collect();
    assert!(["DeltaPenalty", "L2SpPenalty", "RowShares"].iter().all(|n| names.iter().any(|m| m == n)), "{names:?}");
    let gradients = onnx::open(bundle.dir.join("grad.onnx")).unwrap();
    let outputs: Vec<&str> = gradients.graph().unwrap().output.iter().take(4).map(|o| o.name()).collect();
    assert_eq!(outputs, ["loss", "correct", "regularizer", "count"]);
}

/// Layers that do not move are computed once, and cannot differ from the source's.
#[test]
fn frozen_layers_are_not_computed_twice() {
    let options = Options { freeze_stages: 3, batch_norm: Some(BatchNormMode::Frozen), ..with(&["delta"]) };
    let (_work, bundle) = bundle("resnet18.bn.onnx", &options);
    let model = onnx::open(bundle.step()).unwrap();
    let graph = model.graph().unwrap();
    let twice: Vec<&str> = graph.node.iter().map(|n| n.name()).filter(|n| n.starts_with("source/")).collect();
    assert!(twice.iter().any(|n| n.contains("/layer3/")) && !twice.is_empty());
    assert!(
        !twice.iter().any(|n| n.contains("/layer1/") || n.contains("/layer2/") || n.contains("/conv1/Conv") && !n.contains("layer")),
        "{twice:?}"
    );
    assert_eq!(bundle.manifest.regularizers[0].layers, ["layer3.1.conv2.weight", "layer4.1.conv2.weight"]);
    // Nothing of the source branch is differentiated.
    assert!(!graph.node.iter().any(|n| n.name().starts_with("source") && n.name().contains(".grad")));
}

#[test]
fn layers_are_the_last_convolutions_of_the_stages_or_those_that_match() {
    for (model, expected) in [
        (
            "resnet50.bn.onnx",
            strings(&["layer1.2.conv3.weight", "layer2.3.conv3.weight", "layer3.5.conv3.weight", "layer4.2.conv3.weight"]),
        ),
        // One unit in each stage, with a projection behind it in the file.
        ("bottleneck.bn.onnx", strings(&["1.conv3.weight", "2.conv3.weight"])),
    ] {
        let (_work, bundle) = bundle(model, &with(&["delta"]));
        assert_eq!(bundle.manifest.regularizers[0].layers, expected, "{model}");
    }
    let layers = |model: &str, patterns: &[&str]| {
        let (_work, bundle) = bundle(model, &delta(patterns));
        bundle.manifest.regularizers[0].layers.clone()
    };
    assert_eq!(
        layers("resnet50.bn.onnx", &["layer4.0.conv*", "layer4.0.conv1*"]),
        ["layer4.0.conv1.weight", "layer4.0.conv2.weight", "layer4.0.conv3.weight"]
    );
    assert_eq!(layers("vgg.onnx", &["3.*", "7.weight"]), ["3.weight", "7.weight"]);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let own = |kind: &str, strength: f64| {
        let mut regularizer = loss::find(kind).unwrap();
        regularizer.set_strength(strength);
        Options { regularizers: vec![regularizer], ..with(&[]) }
    };
    let lwf = |temperature| Options { regularizers: vec![Regularizer::Lwf(Lwf { temperature, ..Lwf::default() })], ..with(&[]) };
    let bss = |singular_values| Options { regularizers: vec![Regularizer::Bss(Bss { singular_values, ..Bss::default() })], ..with(&[]) };
    assert!(loss::find("gamma").unwrap_err().to_string().contains("there is no regularizer `gamma`; choose from delta, bss, lwf"));
    let cases: Vec<(&str, Options, &str)> = vec![
        ("basic.onnx", own("delta", -1.0), "option `regularizers` delta=-1 is no strength"),
        ("basic.onnx", own("lwf", f64::NAN), "option `regularizers` lwf=NaN is no strength"),
        ("basic.onnx", with(&["bss", "bss"]), "option `regularizers` bss is given twice"),
        ("basic.onnx", lwf(0.0), "option `regularizers.temperature` 0 is no positive number"),
        ("basic.onnx", bss(0), "option `regularizers.singular_values` 0 makes no sense"),
        ("basic.onnx", bss(4), "4 singular values are asked for, more than the 3 singular values of 3 images"),
        ("basic.bn.onnx", Options { batch: BatchSize::Dynamic, ..with(&["bss"]) }, "rewrite with a fixed batch size"),
        ("tokens.onnx", with(&["bss"]), "bss cannot be had: it needs one vector of features for each image"),
        ("vgg.onnx", with(&["delta"]), "no residual units"),
        ("vgg.onnx", delta(&["nothing*"]), "option `regularizers.layers` 'nothing*' matches no parameter"),
        ("vgg.onnx", delta(&["*.bias"]), "matches no weight of a layer"),
        (
            "resnet18.bn.onnx",
            Options { freeze_stages: 5, ..with(&["delta"]) },
            "delta has nothing to do: no trained layer stands before layer1.1.conv2.weight",
        ),
        ("vgg.onnx", Options { head: HeadOption::Classes(4), ..delta(&["9.*"]) }, "which is new"),
    ];
    for (model, options, expected) in cases {
        let found = refused(model, &options);
        assert!(found.contains(expected), "{found}\ndoes not say: {expected}");
    }
}
