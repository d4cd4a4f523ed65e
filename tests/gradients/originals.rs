//! The forward pass that is emitted against ONNX Runtime on the node as the source has it.

use super::cases::Case;
use super::shared::{Random, engine};
use super::{emitted, load, over_cases, points, source};
use prost::Message;
use spgraph::engine::{Engine, EngineChoice, Session};
use spgraph::ir::{DType, Tensor};

/// What ONNX Runtime gives for the case's own node; `None` where it has no kernel for it.
fn original(engine: &dyn Engine, case: &Case, x: &[Tensor]) -> Option<Vec<Tensor>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("original.onnx");
    let mut model = source(case, DType::F32, x).proto;
    for output in &mut model.graph.as_mut().unwrap().output {
        // Of rank 0 in the source of a case, which says nothing of shapes.
        if let Some(spgraph::onnx::pb::type_proto::Value::TensorType(t)) = output.r#type.as_mut().and_then(|t| t.value.as_mut()) {
            t.shape = None;
        }
    }
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    let mut session: Box<dyn Session> = engine.load(&path).ok()?;
    session.run(&[("x0", &x[0])]).ok()
}

#[test]
fn the_forward_pass_is_the_models_own() {
    let ort = engine(EngineChoice::Ort);
    let compared = std::cell::Cell::new(0);
    over_cases(|case| {
        let x = points(case, DType::F32);
        if case.in_training() {
            return Ok(());
        }
        let Some(expected) = original(&*ort, case, &x) else { return Ok(()) };
        let emitted = emitted(case, &x, &[0], case.dynamic)?;
        let seeds = emitted.random_seeds(&mut Random::new(11));
        let feeds = emitted.inputs.iter().zip(&x).chain(emitted.seeds.iter().map(|s| &s.0).zip(&seeds));
        let feeds: Vec<(&str, &Tensor)> = feeds.map(|(n, t)| (n.as_str(), t)).collect();
        let found = load(&*ort, &emitted)?.run(&feeds).map_err(|e| e.to_string())?;
        let used = expected.iter().zip(&case.used).filter(|(_, used)| **used).map(|(t, _)| t);
        for (k, (found, expected)) in found.iter().zip(used).enumerate() {
            if found.shape() != expected.shape() {
                return Err(format!("output {k} has shape {:?}, in the source {:?}", found.shape(), expected.shape()));
            }
            let (found, expected) = (found.to_f64().unwrap(), expected.to_f64().unwrap());
            let largest = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            if let Some(i) = (0..found.len()).find(|&i| found[i].is_nan() || (found[i] - expected[i]).abs() > 2e-6 * largest) {
                return Err(format!("output {k}, element {i}: {}, in the source {}", found[i], expected[i]));
            }
        }
        compared.set(compared.get() + 1);
        Ok(())
    });
    let all = super::cases::cases().len();
    assert!(compared.get() * 100 >= all * 97, "only {} of {all} cases could be compared", compared.get());
}
