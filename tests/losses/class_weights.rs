//! Losses with weights of the classes against PyTorch's in float64 (`tests/generate/training_loop.py`).

use super::shared::{engine, fixture};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use spgraph::emit::{self, Dialect};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Graph, Tensor};
use spgraph::loss;
use spgraph::onnx;
use spgraph::operator::Builder;
use spgraph::pass::{self, ClassWeights};

#[derive(Deserialize)]
struct Case {
    kind: String,
    smoothing: f64,
}

fn tensor(data: &[u8], name: &str) -> Tensor {
    let file = SafeTensors::deserialize(data).unwrap();
    let view = file.tensor(name).unwrap();
    let dtype = if view.dtype() == Dtype::I64 { DType::I64 } else { DType::F64 };
    Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec()).unwrap()
}

#[test]
fn weighted_losses_are_those_of_pytorch() {
    let data = std::fs::read(fixture("training_loop.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&data).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&header.metadata().as_ref().unwrap()["losses"]).unwrap();
    assert!(cases.len() >= 6);
    for (n, case) in cases.iter().enumerate() {
        let part = |name: &str| tensor(&data, &format!("weighted/{n}/{name}"));
        let (scores, target, weights) = (part("scores").cast(DType::F32).unwrap(), part("target"), part("weight").to_f64().unwrap());
        let mut graph = Graph::new("case");
        let (z, t) = (graph.input("scores", scores.ty()), graph.input("target", target.ty()));
        let mut b = Builder::new(&mut graph);
        let found = loss::data_loss(&case.kind).unwrap().add(&mut b, z, t, case.smoothing).unwrap();
        graph.outputs = vec![found.value, found.gradient];
        pass::apply(&mut graph, &[&ClassWeights { weights }]).unwrap();
        let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
        for dialect in [Dialect::Functions, Dialect::Inlined] {
            onnx::write(file.path(), &emit::model(&graph, dialect).unwrap()).unwrap();
            let results = engine(EngineChoice::Ort).load(file.path()).unwrap().run(&[("scores", &scores), ("target", &target)]).unwrap();
            for (result, name) in results.iter().zip(["loss", "gradient"]) {
                let (found, right) = (result.to_f64().unwrap(), part(name).to_f64().unwrap());
                let off = found.iter().zip(&right).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 2e-6, "{name} of {} with smoothing {}: {found:?}, not {right:?}", case.kind, case.smoothing);
            }
        }
    }
}
