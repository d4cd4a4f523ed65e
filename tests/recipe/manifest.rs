//! Manifests say what ports mean; those of format 1 are read as well.

use spgraph::bundle::manifest::Manifest;
use spgraph::bundle::{Measure, Setting};
use std::path::Path;

/// Written by a build of format 1, with `--classes 4 --split --alpha '1.*=0.5' --regularizer delta --regularizer bss --penalty l2-sp`.
#[test]
fn format_1_gets_its_meanings() {
    let manifest = Manifest::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format1.manifest.json")).unwrap();
    assert_eq!(manifest.format, 2);
    let scalars: Vec<(&str, &Setting, f64)> = manifest.scalars.iter().map(|s| (s.name.as_str(), &s.meaning, s.default)).collect();
    let own = Setting::AlphaOf("1.*".into());
    let (delta, bss) = (Setting::Regularizer("delta".into()), Setting::Regularizer("bss".into()));
    let expected = [
        ("lr", &Setting::LearningRate, 0.01),
        ("alpha", &Setting::Alpha, 0.1),
        ("beta", &Setting::Beta, 0.01),
        ("alpha:1.*", &own, 0.5),
        ("delta", &delta, 0.01),
        ("bss", &bss, 0.001),
    ];
    assert_eq!(scalars, expected);
    for (meaning, name) in
        [(Measure::Loss, "loss"), (Measure::DataLoss, "data_loss"), (Measure::Penalty, "penalty"), (Measure::Correct, "correct")]
    {
        assert_eq!(manifest.output(meaning).unwrap(), name);
    }
    let split = manifest.split.as_ref().unwrap();
    let grad: Vec<(&str, Measure)> = split.grad.iter().map(|o| (o.name.as_str(), o.meaning)).collect();
    assert_eq!(grad, [("loss", Measure::DataLoss), ("correct", Measure::Correct), ("regularizer", Measure::Regularizers)]);
    assert_eq!(split.apply.iter().map(|o| (o.name.as_str(), o.meaning)).collect::<Vec<_>>(), [("penalty", Measure::Penalty)]);
    assert_eq!(manifest.class_count, None);
    // What was read is written in format 2.
    let again: Manifest = serde_json::from_str(&serde_json::to_string(&manifest).unwrap()).unwrap();
    assert_eq!(again, manifest);
}
