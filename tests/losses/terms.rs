//! Values and gradients against PyTorch's in float64 (`tests/generate/losses.py`).

use super::shared::{engine, fixture};
use safetensors::tensor::SafeTensors;
use serde::Deserialize;
use spgraph::emit::{self, Dialect};
use spgraph::engine::{Engine, EngineChoice};
use spgraph::ir::{DType, Graph, Tensor};
use spgraph::loss::{self, Activation, LOSSES};
use spgraph::onnx;
use spgraph::operator::Builder;

#[derive(Deserialize)]
struct Case {
    kind: String,
    rows: usize,
    scores: usize,
    smoothing: f64,
    #[serde(skip)]
    n: usize,
}

fn cases(data: &[u8]) -> Vec<Case> {
    let (_, header) = SafeTensors::read_metadata(data).unwrap();
    let list: Vec<Case> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    list.into_iter().enumerate().map(|(n, case)| Case { n, ..case }).collect()
}

fn tensor(data: &[u8], case: &Case, part: &str) -> Tensor {
    let file = SafeTensors::deserialize(data).unwrap();
    let view = file.tensor(&format!("{}/{part}", case.n)).unwrap();
    let dtype = if view.dtype() == safetensors::Dtype::I64 { DType::I64 } else { DType::F64 };
    Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec()).unwrap()
}

/// Loss, gradient and the number of right answers.
fn run(data: &[u8], case: &Case, dtype: DType, dialect: Dialect, engine: &dyn Engine) -> Vec<Vec<f64>> {
    let mut graph = Graph::new("case");
    let scores = tensor(data, case, "scores").cast(dtype).unwrap();
    let target = tensor(data, case, "target");
    let target = if target.dtype() == DType::I64 { target } else { target.cast(dtype).unwrap() };
    let (z, t) = (graph.input("scores", scores.ty()), graph.input("target", target.ty()));
    let mut b = Builder::new(&mut graph);
    b.scope("loss");
    let found = match case.kind.as_str() {
        "multi-label" => loss::multi_label(&mut b, z, t),
        kind => loss::data_loss(kind).unwrap().add(&mut b, z, t, case.smoothing),
    };
    let found = found.unwrap();
    graph.outputs = vec![found.value, found.gradient, found.correct];
    let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
    onnx::write(file.path(), &emit::model(&graph, dialect).unwrap()).unwrap();
    let results = engine.load(file.path()).unwrap().run(&[("scores", &scores), ("target", &target)]).unwrap();
    results.iter().map(|t| t.to_f64().unwrap()).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(difference <= tolerance * norm, "{what}: {:.1e} off", difference / norm);
}

#[test]
fn value_gradient_and_right_answers_are_pytorch_s() {
    let data = std::fs::read(fixture("losses.safetensors")).unwrap();
    let cases = cases(&data);
    for kind in LOSSES.iter().map(|l| l.kind()).chain(["multi-label"]) {
        assert!(cases.iter().any(|c| c.kind == kind), "no case of {kind}");
    }
    let engines = [(EngineChoice::Tract, DType::F64, 1e-12), (EngineChoice::Ort, DType::F32, 1e-5)];
    for (choice, dtype, tolerance) in engines {
        let engine = engine(choice);
        for case in &cases {
            for dialect in [Dialect::Functions, Dialect::Inlined] {
                let found = run(&data, case, dtype, dialect, engine.as_ref());
                let what = format!("{} of {} scores, smoothing {} ({choice:?})", case.kind, case.scores, case.smoothing);
                for (found, part) in found.iter().zip(["loss", "gradient", "correct"]) {
                    close(found, &tensor(&data, case, part).to_f64().unwrap(), tolerance, &format!("{part} of {what}"));
                }
            }
        }
    }
}

/// What evaluation computes for single images is the mean that the graph computes.
#[test]
fn the_loss_of_single_images_is_the_same() {
    let data = std::fs::read(fixture("losses.safetensors")).unwrap();
    for case in cases(&data).iter().filter(|c| c.kind != "multi-label" && c.smoothing == 0.0) {
        let loss = loss::data_loss(&case.kind).unwrap();
        let (scores, target) = (tensor(&data, case, "scores").to_f64().unwrap(), tensor(&data, case, "target").to_i64().unwrap());
        let expected = tensor(&data, case, "loss").to_f64().unwrap();
        let given = |activation: Activation, row: &[f64]| -> Vec<f64> {
            let sum: f64 = row.iter().map(|z| z.exp()).sum();
            let activate = |z: &f64| match activation {
                Activation::None => *z,
                Activation::Softmax => z.exp() / sum,
                Activation::LogSoftmax => (z.exp() / sum).ln(),
                Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            };
            row.iter().map(activate).collect()
        };
        let activations = match case.kind.as_str() {
            "cross-entropy" => vec![Activation::None, Activation::Softmax, Activation::LogSoftmax],
            // A probability of 1 − 10⁻²⁰ is 1 in any float.
            "bce" if scores.iter().all(|z| z.abs() < 20.0) => vec![Activation::None, Activation::Sigmoid],
            _ => vec![Activation::None],
        };
        for activation in activations {
            let rows = scores.chunks(case.scores).zip(&target).filter(|(_, t)| **t >= 0);
            let losses: Vec<f64> = rows.map(|(row, &t)| loss.value(activation, &given(activation, row), t as usize)).collect();
            assert_eq!(losses.len(), case.rows - 1);
            close(&[losses.iter().sum::<f64>() / losses.len() as f64], &expected, 1e-9, &format!("{} {activation:?}", case.kind));
        }
    }
}
