//! Values and gradients against PyTorch's in float64 (`tests/generate/regularizers.py`; singular values from `torch.linalg.svd`).

use super::shared::{engine, fixture};
use safetensors::tensor::SafeTensors;
use serde::Deserialize;
use spgraph::emit::{self, Dialect};
use spgraph::engine::{Engine, EngineChoice};
use spgraph::ir::{DType, Graph, Tensor, TensorType};
use spgraph::loss::{self, Bss, Lwf, REGULARIZERS, Regularize, Regularizer, Seen};
use spgraph::onnx;
use spgraph::operator::Builder;
use std::collections::{BTreeSet, HashMap};

#[derive(Deserialize)]
struct About {
    name: String,
    kind: String,
    strength: f64,
    #[serde(default)]
    axis: usize,
    #[serde(default)]
    k: usize,
    #[serde(default)]
    temperature: f64,
    /// How far the two smallest singular values are apart, where that is little.
    near: Option<f64>,
    /// Value and gradient are 0.
    #[serde(default)]
    zero: bool,
}

struct Case {
    about: About,
    tensors: HashMap<String, Tensor>,
}

fn cases() -> Vec<Case> {
    let data = std::fs::read(fixture("regularizers.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&data).unwrap();
    let list: Vec<About> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let file = SafeTensors::deserialize(&data).unwrap();
    let case = |(n, about): (usize, About)| {
        let own = file.tensors().into_iter().filter_map(|(name, view)| {
            let part = name.strip_prefix(&format!("{n}/"))?.to_string();
            let dtype = if part == "target" { DType::I64 } else { DType::F64 };
            Some((part, Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec()).unwrap()))
        });
        Case { tensors: own.collect(), about }
    };
    list.into_iter().enumerate().map(case).collect()
}

impl Case {
    fn expected(&self, name: &str) -> Vec<f64> {
        self.tensors[name].to_f64().unwrap()
    }

    /// Value and gradient.
    fn run(&self, dtype: DType, dialect: Dialect, engine: &dyn Engine) -> (f64, Vec<f64>) {
        let mut graph = Graph::new("case");
        let mut feeds: Vec<(&str, Tensor)> = vec![];
        let mut input = |graph: &mut Graph, name: &'static str| {
            let tensor = self.tensors.get(name)?;
            let tensor = if tensor.dtype() == DType::I64 { tensor.clone() } else { cast(tensor, dtype) };
            let value = graph.input(name, tensor.ty());
            feeds.push((name, tensor));
            Some(value)
        };
        let tuned = input(&mut graph, "tuned").unwrap();
        let source = input(&mut graph, "source");
        let attention = input(&mut graph, "attention");
        let target = input(&mut graph, "target").unwrap();
        let strength = graph.input("strength", TensorType::scalar(dtype));
        feeds.push(("strength", Tensor::from_floats(dtype, &[], &[self.about.strength])));
        let mut b = Builder::new(&mut graph);
        b.scope("case");
        let shares = loss::shares(&mut b, target, loss::LOSSES[0], dtype).unwrap();
        let mut regularizer = loss::find(&self.about.kind).unwrap();
        match &mut regularizer {
            Regularizer::Delta(_) => {}
            Regularizer::Bss(Bss { singular_values, .. }) => *singular_values = self.about.k,
            Regularizer::Lwf(Lwf { temperature, .. }) => *temperature = self.about.temperature,
        }
        let seen = Seen { tuned, axis: self.about.axis, source, attention, shares, strength };
        let term = regularizer.term(&mut b, &seen).unwrap();
        assert_eq!(b.ty(term.gradient), b.ty(tuned));
        graph.outputs = vec![term.value, term.gradient];
        let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
        onnx::write(file.path(), &emit::model(&graph, dialect).unwrap()).unwrap();
        let mut session = engine.load(file.path()).unwrap();
        let names: Vec<&str> = session.signature().inputs.iter().map(|p| feeds.iter().find(|f| f.0 == p.name).unwrap().0).collect();
        let given: Vec<(&str, &Tensor)> = names.iter().map(|n| (*n, &feeds.iter().find(|f| f.0 == *n).unwrap().1)).collect();
        let found: Vec<Vec<f64>> = session.run(&given).unwrap().iter().map(|t| t.to_f64().unwrap()).collect();
        (found[0][0], found[1].clone())
    }
}

fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    tensor.cast(dtype).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    let relative = difference / if norm > 0.0 { norm } else { 1.0 };
    assert!(relative <= tolerance, "{what}: {relative:.1e} off");
}

#[test]
fn every_regularizer_is_tested() {
    let tested: BTreeSet<String> = cases().into_iter().map(|c| c.about.kind).collect();
    assert_eq!(tested, REGULARIZERS.iter().map(|usual| usual().kind().to_string()).collect());
}

#[test]
fn value_and_gradient_are_pytorch_s() {
    let tract = engine(EngineChoice::Tract);
    for case in cases() {
        // What float64 can say about one of two singular vectors falls with the distance of their eigenvalues.
        let tolerance = case.about.near.map_or(1e-10, |gap| 1e-12 / gap);
        for dialect in [Dialect::Functions, Dialect::Inlined] {
            let (value, gradient) = case.run(DType::F64, dialect, tract.as_ref());
            let what = format!("{} {} {dialect:?}", case.about.kind, case.about.name);
            close(&[value], &case.expected("value"), 1e-10, &what);
            close(&gradient, &case.expected("gradient"), tolerance, &what);
        }
    }
}

#[test]
fn onnx_runtime_gives_the_same_in_float32() {
    let ort = engine(EngineChoice::Ort);
    // Rounding the features to float32 turns singular vectors that belong to near values, whoever computes them.
    for case in cases().into_iter().filter(|c| c.about.near.is_none_or(|gap| gap > 1e-3)) {
        let (value, gradient) = case.run(DType::F32, Dialect::Functions, ort.as_ref());
        let what = format!("{} {}", case.about.kind, case.about.name);
        close(&[value], &case.expected("value"), 1e-5, &what);
        close(&gradient, &case.expected("gradient"), 1e-4, &what);
    }
}

/// Where singular values are equal or vanish no direction is right, but the value is, and nothing is no number.
#[test]
fn degenerate_features_have_a_value_and_a_finite_gradient() {
    for (choice, dtype) in [(EngineChoice::Tract, DType::F64), (EngineChoice::Ort, DType::F32)] {
        let engine = engine(choice);
        // All values are 2; all features are 0; one image repeated.
        let equal: Vec<f64> = (0..12).map(|i| if i / 4 == i % 4 { 2.0 } else { 0.0 }).collect();
        let same: Vec<f64> = (0..12).map(|i| (i % 4) as f64 - 1.0).collect();
        for (values, k, expected) in [(equal, 2, 8.0), (vec![0.0; 12], 2, 0.0), (same, 2, 0.0)] {
            let about = About {
                name: "degenerate".into(),
                kind: "bss".into(),
                strength: 1.0,
                axis: 1,
                k,
                temperature: 1.0,
                near: None,
                zero: false,
            };
            let tensors = HashMap::from([
                ("tuned".to_string(), Tensor::from_f64(&[3, 4], &values)),
                ("target".to_string(), Tensor::from_i64(&[3], &[0, 1, 2])),
            ]);
            let (value, gradient) = Case { about, tensors }.run(dtype, Dialect::Functions, engine.as_ref());
            assert!((value - expected).abs() < 1e-12, "{value} instead of {expected}");
            // The gradient of σ² is 2·σ·u·vᵀ: its norm is 2·(Σ σ²)^½ whatever the vectors are.
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm - 2.0 * expected.sqrt()).abs() < 1e-6, "{norm}");
        }
    }
    assert!(cases().iter().any(|c| c.about.zero), "no case of dead features");
}

#[test]
fn more_singular_values_than_there_are_is_refused() {
    let mut graph = Graph::new("case");
    let tuned = graph.input("tuned", TensorType::new(DType::F32, [3usize, 8]));
    let target = graph.input("target", TensorType::new(DType::I64, [3usize]));
    let strength = graph.input("strength", TensorType::scalar(DType::F32));
    let mut b = Builder::new(&mut graph);
    let shares = loss::shares(&mut b, target, loss::LOSSES[0], DType::F32).unwrap();
    let seen = Seen { tuned, axis: 1, source: None, attention: None, shares, strength };
    let refusal = Bss { singular_values: 4, ..Bss::default() }.term(&mut b, &seen).unwrap_err();
    assert!(refusal.contains("4 singular values are asked for, more than the 3 singular values of 3 images with 8 features"), "{refusal}");
}
