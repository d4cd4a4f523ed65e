//! Losses on soft targets: values and gradients against PyTorch's in float64 (`tests/generate/soft_losses.py`).

use super::shared::{engine, fixture};
use safetensors::tensor::SafeTensors;
use serde_json::Value;
use spgraph::emit::{self, Dialect};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Graph, Tensor};
use spgraph::loss::{self, LOSSES};
use spgraph::onnx;
use spgraph::operator::Builder;

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(difference <= tolerance * norm, "{what}: {difference:.1e} off of {norm}");
}

#[test]
fn value_gradient_right_answers_and_rows_are_pytorch_s() {
    let data = std::fs::read(fixture("soft_losses.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&data).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&data).unwrap();
    for kind in LOSSES.iter().map(|l| l.kind()) {
        assert!(cases.iter().filter(|c| c["kind"] == kind).count() >= 3, "too few cases of {kind}");
    }
    for (choice, dtype, tolerance) in [(EngineChoice::Tract, DType::F64, 1e-12), (EngineChoice::Ort, DType::F32, 1e-5)] {
        let engine = engine(choice);
        for (n, case) in cases.iter().enumerate() {
            let tensor = |part: &str| {
                let view = file.tensor(&format!("{n}/{part}")).unwrap();
                Tensor::new(DType::F64, view.shape().to_vec(), view.data().to_vec()).unwrap()
            };
            let (scores, target) = (tensor("scores").cast(dtype).unwrap(), tensor("target").cast(dtype).unwrap());
            let mut graph = Graph::new("case");
            let (z, t) = (graph.input("scores", scores.ty()), graph.input("target", target.ty()));
            let mut b = Builder::new(&mut graph);
            b.scope("loss");
            let loss = loss::data_loss(case["kind"].as_str().unwrap()).unwrap();
            let found = loss.add(&mut b, z, t, case["smoothing"].as_f64().unwrap()).unwrap();
            let count = loss::count(&mut b, t, loss).unwrap();
            let shares = loss::shares(&mut b, t, loss, dtype).unwrap();
            graph.outputs = vec![found.value, found.gradient, found.correct, count, shares];
            for dialect in [Dialect::Functions, Dialect::Inlined] {
                let path = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
                onnx::write(path.path(), &emit::model(&graph, dialect).unwrap()).unwrap();
                let results = engine.load(path.path()).unwrap().run(&[("scores", &scores), ("target", &target)]).unwrap();
                let results: Vec<Vec<f64>> = results.iter().map(|t| t.to_f64().unwrap()).collect();
                for (found, part) in results.iter().zip(["loss", "gradient", "correct", "count"]) {
                    close(found, &tensor(part).to_f64().unwrap(), tolerance, &format!("{part} of {case} ({choice:?})"));
                }
                let rows = case["rows"].as_u64().unwrap() as usize;
                let each = 1.0 / (rows - 2) as f64;
                let expected: Vec<f64> = (0..rows).map(|r| if r == 1 || r == rows - 1 { 0.0 } else { each }).collect();
                close(&results[4], &expected, tolerance, &format!("shares of {case}"));
            }
        }
    }
}

/// A batch of nothing but padding moves nothing, as with labels.
#[test]
fn nothing_but_padding_is_no_loss() {
    for loss in LOSSES {
        let mut graph = Graph::new("case");
        let scores = Tensor::from_floats(DType::F32, &[2, 3], &[1.0, -2.0, 0.5, 3.0, 0.0, -1.0]);
        let target = Tensor::from_floats(DType::F32, &[2, 3], &[loss::PADDING; 6]);
        let (z, t) = (graph.input("scores", scores.ty()), graph.input("target", target.ty()));
        let mut b = Builder::new(&mut graph);
        b.scope("loss");
        let found = loss.add(&mut b, z, t, 0.1).unwrap();
        graph.outputs = vec![found.value, found.gradient, found.correct];
        let path = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
        onnx::write(path.path(), &emit::model(&graph, Dialect::Functions).unwrap()).unwrap();
        let results = engine(EngineChoice::Tract).load(path.path()).unwrap().run(&[("scores", &scores), ("target", &target)]).unwrap();
        for result in results {
            assert!(result.to_f64().unwrap().iter().all(|v| *v == 0.0), "{}", loss.kind());
        }
    }
}
