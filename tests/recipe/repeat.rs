//! A rewriting is data: it survives being written, and what it made can be made again from its manifest, bit for bit.

use crate::{fixture, with_everything};
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::{BatchNormMode, Manifest};
use spgraph::bundle::{ByPattern, HeadOption, Options, Penalize, PenaltyStep};
use spgraph::import::BatchSize;
use spgraph::loss::{Delta, Regularizer};
use spgraph::optim::{AdamW, Optimizer, UpdateRule};
use std::collections::BTreeMap;
use std::path::Path;

/// Options with something in every field that is not a file.
fn unusual() -> Options {
    Options {
        penalty: "l1-sp".into(),
        // No float of few digits.
        alpha: Some(0.1 + 0.2),
        beta: Some(1.0 / 3.0),
        penalize: Penalize::Patterns(vec!["*.weight".into()]),
        sp_exclude: vec!["1.conv1*".into()],
        strengths: vec![ByPattern { pattern: "2.*".into(), value: 1e-7 / 3.0 }],
        alpha_depth: Some(2.0_f64.sqrt()),
        penalty_step: PenaltyStep::Proximal,
        regularizers: vec![Regularizer::Delta(Delta { strength: 0.7, layers: vec!["2.conv*".into()], attention: None })],
        head: HeadOption::Classes(4),
        freeze: vec!["0.0.0*".into()],
        batch_norm: Some(BatchNormMode::Frozen),
        batch: BatchSize::Dynamic,
        lr: Some(0.3_f64.powi(5)),
        optimizer: Optimizer {
            rule: UpdateRule::AdamW(AdamW { eps: 1e-7, ..AdamW::default() }),
            clip_norm: Some(0.3),
            spd: None,
            ema: Some(0.9),
        },
        lr_mult: vec![ByPattern { pattern: "3.*".into(), value: 10.0 }],
        label_smoothing: 0.1,
        seed: u64::MAX,
        classes: ["a", "b", "ç", "d"].map(String::from).to_vec(),
        split: true,
        ..Options::default()
    }
}

#[test]
fn options_survive_being_written_and_know_every_field() {
    for options in [Options::default(), unusual(), with_everything()] {
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options, "{text}");
    }
    // What is left out has its default.
    let few: Options = serde_json::from_str(
        r#"{"penalty": "none", "batch": "dynamic", "head": {"classes": 3}, "optimizer": {"kind": "adamw", "beta1": 0.8},
            "regularizers": [{"kind": "bss"}, {"kind": "delta", "layers": ["x"]}]}"#,
    )
    .unwrap();
    assert_eq!((few.batch, few.head, few.split), (BatchSize::Dynamic, HeadOption::Classes(3), false));
    assert_eq!(few.optimizer.rule, UpdateRule::AdamW(AdamW { beta1: 0.8, ..AdamW::default() }));
    assert_eq!(few.regularizers[0].strength(), 1e-3);
    for unknown in [
        r#"{"penalti": "none"}"#,
        r#"{"optimizer": {"kind": "sgd", "beta1": 0.8}}"#,
        r#"{"optimizer": {"kind": "sgd", "clip": 1}}"#,
        r#"{"optimizer": {"kind": "rmsprop"}}"#,
        r#"{"regularizers": [{"kind": "lwf", "layers": ["x"]}]}"#,
        r#"{"regularizers": [{"kind": "ewc"}]}"#,
        r#"{"strengths": [{"pattern": "x", "value": 1, "beta": 2}]}"#,
        r#"{"batch": "many"}"#,
        r#"{"dialect": "latin"}"#,
    ] {
        assert!(serde_json::from_str::<Options>(unknown).is_err(), "{unknown}");
    }
}

/// The files of a folder.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
}

#[test]
fn a_bundle_is_made_again_from_its_manifest_alone() {
    let work = tempfile::tempdir().unwrap();
    let map = work.path().join("map.txt");
    std::fs::write(&map, "a = 2\n").unwrap();
    let model = fixture("basic.bn.onnx");
    for (number, options) in [unusual(), Options { head_map: Some(map.clone()), ..unusual() }, with_everything()].into_iter().enumerate() {
        let (first, second) = (work.path().join(format!("{number}-first")), work.path().join(format!("{number}-second")));
        make_bundle(&model, &first, &options, false).unwrap();
        let manifest = Manifest::read(&first.join("manifest.json")).unwrap();
        let again = manifest.options_again(&model).unwrap();
        assert_eq!(*again, options);
        make_bundle(&model, &second, again, false).unwrap();
        let (first, second) = (files(&first), files(&second));
        assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
        assert!(first.iter().all(|(name, data)| second[name] == *data), "rewriting {number}");
    }
    // Not from another model, nor with another file.
    let manifest = Manifest::read(&work.path().join("1-first/manifest.json")).unwrap();
    let other = manifest.options_again(&fixture("basic.onnx")).unwrap_err().to_string();
    assert!(other.contains("basic.onnx is not the file that the bundle was made from"), "{other}");
    std::fs::write(&map, "a = 1\n").unwrap();
    let changed = manifest.options_again(&model).unwrap_err().to_string();
    assert!(changed.contains("map.txt is not the file"), "{changed}");
    let old = Manifest::read(&fixture("format1.manifest.json")).unwrap();
    assert!(old.options_again(&model).unwrap_err().to_string().contains("older spgraph"));
}
