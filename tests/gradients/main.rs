//! Every gradient rule against finite differences, on the graphs that are emitted.
//!
//! For `y = f(x)` and random `u`, `v`: `⟨u, J·v⟩` from central differences of the emitted forward graph must equal `⟨Jᵀ·u, v⟩`
//! from the emitted gradient, in float64, for each input by itself and for all together, with a fixed and a symbolic batch.
//! At kinks and ties, where there is no such thing, the values are PyTorch's.

mod attention;
mod cases;
mod extremes;
mod indexing;
mod kinks;
mod originals;
mod products;
mod resizing;
#[path = "../shared/mod.rs"]
mod shared;

use cases::{Case, Input, cases};
use prost::Message;
use shared::{Random, engine};
use spgraph::emit::{self, Dialect};
use spgraph::engine::{Engine, EngineChoice, Session};
use spgraph::grad;
use spgraph::import::{BatchSize, ImportOptions, Imported, import};
use spgraph::ir::{DType, Tensor, TensorType, ValueId};
use spgraph::onnx::{ExternalData, SourceModel, pb, to_proto};
use spgraph::operator::Status;
use spgraph::ops::table;
use spgraph::pass::{self, Alternatives, Drops, FixValues};
use std::collections::BTreeSet;

/// Largest difference allowed, relative to the sum of the magnitudes of the terms.
const TOLERANCE: f64 = 1e-7;

/// The model of a single node, its first differentiable input the model's input, the others initializers.
fn source(case: &Case, dtype: DType, values: &[Tensor]) -> SourceModel {
    let mut node = pb::NodeProto {
        name: Some("node".into()),
        op_type: Some(case.op.into()),
        attribute: case.attributes.clone(),
        output: case.outputs.iter().map(|s| s.to_string()).collect(),
        ..Default::default()
    };
    let mut graph = pb::GraphProto { name: Some("case".into()), ..Default::default() };
    let mut values = values.iter();
    for (i, input) in case.inputs.iter().enumerate() {
        let name = format!("x{i}");
        node.input.push(if matches!(input, Input::Absent) { String::new() } else { name.clone() });
        match input {
            Input::Absent => {}
            Input::Fixed(tensor) => graph.initializer.push(to_proto(name, &cast(tensor, dtype))),
            Input::Exactly(tensor) => graph.initializer.push(to_proto(name, tensor)),
            Input::Float { .. } => {
                let value = values.next().unwrap();
                if graph.input.is_empty() {
                    graph.input.push(emit::value_info(&name, &value.ty()));
                } else {
                    graph.initializer.push(to_proto(name, value));
                }
            }
        }
    }
    // What a cast makes of it is declared as that.
    let to = node.attribute.iter().find(|a| a.name() == "to").and_then(|a| DType::from_onnx(a.i() as i32));
    graph.node = vec![node];
    let any = TensorType { dtype: to.unwrap_or(dtype), shape: vec![] };
    graph.output = case.outputs.iter().filter(|o| !o.is_empty()).map(|o| emit::value_info(o, &any)).collect();
    let opset = pb::OperatorSetIdProto { domain: None, version: Some(case.opset) };
    let proto = pb::ModelProto { ir_version: Some(8), opset_import: vec![opset], graph: Some(graph), ..Default::default() };
    SourceModel { proto, path: "case".into(), dir: "".into(), sha256: String::new(), bytes: 0, external: ExternalData::new("") }
}

/// Floating constants in the precision of the run.
fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    if tensor.dtype().is_float() { tensor.cast(dtype).unwrap() } else { tensor.clone() }
}

/// Random values for the differentiable inputs.
fn points(case: &Case, dtype: DType) -> Vec<Tensor> {
    let mut random = Random::new(case.label().bytes().fold(7, |a, b| a * 31 % 65_537 + b as u64));
    let mut points = vec![];
    for input in &case.inputs {
        if let Input::Float { shape, lo, hi } = input {
            let values = random.list(shape.iter().product(), *lo, *hi);
            points.push(Tensor::from_floats(dtype, shape, &values));
        }
    }
    points
}

/// The emitted graph: inputs `x…` and one cotangent `u…` for each used output; outputs the used outputs `y…`, then the
/// cotangents of the inputs in `wanted` (by position among the differentiable ones; `None` where it is zero).
struct Emitted {
    model: pb::ModelProto,
    inputs: Vec<String>,
    seeds: Vec<(String, DType, Vec<usize>)>,
    outputs: usize,
    found: Vec<bool>,
}

impl Emitted {
    /// A cotangent for each output.
    fn random_seeds(&self, random: &mut Random) -> Vec<Tensor> {
        let draw = |random: &mut Random, shape: &[usize]| random.list(shape.iter().product(), -1.0, 1.0);
        self.seeds.iter().map(|(_, dtype, shape)| Tensor::from_floats(*dtype, shape, &draw(random, shape))).collect()
    }
}

fn options(batch: BatchSize) -> ImportOptions {
    ImportOptions { batch, input_shape: None, keep_ties: true }
}

fn emitted(case: &Case, values: &[Tensor], wanted: &[usize], dynamic: bool) -> Result<Emitted, String> {
    let dtype = values[0].dtype();
    let batch = if dynamic { BatchSize::Dynamic } else { BatchSize::Fixed(values[0].shape()[0]) };
    let Imported { mut graph, training, .. } = import(&source(case, dtype, values), &options(batch)).map_err(|e| e.to_string())?;
    if case.batch_norm_train {
        pass::train_batch_norm(&mut graph, &Default::default(), &training).map_err(|e| e.to_string())?;
    }
    if case.dropout_train {
        let nodes = training.keys().map(|node| (node.clone(), Drops::Instead(0.3, None))).collect();
        let masks = pass::drop_elements(&mut graph, "masks", &nodes).map_err(|e| e.to_string())?.ok_or("nothing drops")?;
        let state = vec![(graph.name_of(masks.state).to_string(), Tensor::from_i64(&[2], &[3, 1]))];
        pass::apply(&mut graph, &[&FixValues { values: state, dropped: Default::default() }]).map_err(|e| e.to_string())?;
    }
    let (mut inputs, mut ids): (Vec<String>, Vec<ValueId>) = (vec![], vec![]);
    for (i, _) in case.inputs.iter().enumerate().filter(|(_, input)| matches!(input, Input::Float { .. })) {
        let name = format!("x{i}");
        let id = graph.find(&name).ok_or_else(|| format!("{name} is gone"))?;
        if !inputs.is_empty() {
            graph.constant_to_input(id).ok_or_else(|| format!("{name} is no constant"))?;
        }
        inputs.push(name);
        ids.push(id);
    }
    let outputs: Vec<ValueId> = graph.outputs.iter().copied().zip(&case.used).filter(|(_, used)| **used).map(|(o, _)| o).collect();
    let (mut pairs, mut seeds) = (vec![], vec![]);
    for (k, &y) in outputs.iter().enumerate() {
        let (name, ty) = (format!("u{k}"), graph.ty(y).clone());
        let size = |d: &spgraph::ir::Dim| match d {
            spgraph::ir::Dim::Known(n) => *n,
            spgraph::ir::Dim::Batch(m) => m * values[0].shape()[0],
        };
        seeds.push((name.clone(), ty.dtype, ty.shape.iter().map(size).collect()));
        pairs.push((y, graph.input(&name, ty)));
    }
    let wanted: Vec<ValueId> = wanted.iter().map(|&i| ids[i]).collect();
    let cotangents = grad::backward(&mut graph, &pairs, &wanted).map_err(|e| e.to_string())?;
    let count = outputs.len();
    graph.outputs = outputs;
    let mut found = vec![];
    for id in wanted {
        found.push(cotangents.contains_key(&id));
        graph.outputs.extend(cotangents.get(&id));
    }
    pass::apply_verified(&mut graph, &[&Alternatives]).map_err(|e| e.to_string())?;
    graph.verify()?;
    let model = emit::model(&graph, Dialect::Functions).map_err(|e| e.to_string())?;
    Ok(Emitted { model, inputs, seeds, outputs: count, found })
}

/// A value may be an output twice (an identity hands its cotangent on), but not under one name.
fn load(engine: &dyn Engine, emitted: &Emitted) -> Result<Box<dyn Session>, String> {
    let mut model = emitted.model.clone();
    let graph = model.graph.as_mut().unwrap();
    let mut seen = BTreeSet::new();
    for i in 0..graph.output.len() {
        let name = graph.output[i].name().to_string();
        if !seen.insert(name.clone()) || graph.input.iter().any(|x| x.name() == name) {
            let copy = format!("{name}.{i}");
            graph.output[i].name = Some(copy.clone());
            let node = pb::NodeProto { op_type: Some("Identity".into()), input: vec![name], output: vec![copy], ..Default::default() };
            graph.node.push(node);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("case.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    engine.load(&path).map_err(|e| e.to_string())
}

fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (x, y)| (sum + x * y, size + (x * y).abs()))
}

fn moved(x: &Tensor, v: &[f64], by: f64) -> Tensor {
    let values: Vec<f64> = x.to_f64().unwrap().iter().zip(v).map(|(x, v)| x + by * v).collect();
    Tensor::from_f64(x.shape(), &values)
}

/// Compares for each input in `wanted`, moved by itself.
fn check(engine: &dyn Engine, case: &Case, wanted: &[usize], dynamic: bool) -> Result<(), String> {
    let x = points(case, DType::F64);
    let emitted = emitted(case, &x, wanted, dynamic)?;
    let mut session = load(engine, &emitted)?;
    let mut random = Random::new(11);
    let seeds = emitted.random_seeds(&mut random);
    let mut run = |x: &[Tensor]| -> Result<Vec<Vec<f64>>, String> {
        let feeds = emitted.inputs.iter().zip(x).chain(emitted.seeds.iter().map(|s| &s.0).zip(&seeds));
        let feeds: Vec<(&str, &Tensor)> = feeds.map(|(n, t)| (n.as_str(), t)).collect();
        let results = session.run(&feeds).map_err(|e| e.to_string())?;
        results.iter().map(|t| t.to_f64().map_err(|e| e.to_string())).collect()
    };
    let base = run(&x)?;
    let mut gradients = base[emitted.outputs..].iter();
    for (&i, &found) in wanted.iter().zip(&emitted.found) {
        let v = random.list(x[i].count(), -1.0, 1.0);
        let at = |by: f64| x.iter().enumerate().map(|(j, t)| if i == j { moved(t, &v, by) } else { t.clone() }).collect::<Vec<_>>();
        let (ahead, behind) = (run(&at(case.step))?, run(&at(-case.step))?);
        let (mut expected, mut size) = (0.0, 0.0);
        for (k, u) in seeds.iter().enumerate() {
            let slope: Vec<f64> = ahead[k].iter().zip(&behind[k]).map(|(a, b)| (a - b) / (2.0 * case.step)).collect();
            let (sum, terms) = dot(&u.to_f64().unwrap(), &slope);
            (expected, size) = (expected + sum, size + terms);
        }
        let actual = if found { dot(gradients.next().unwrap(), &v).0 } else { 0.0 };
        let allowed = TOLERANCE * size.max(1.0);
        if (actual - expected).abs() > allowed || !actual.is_finite() {
            return Err(format!("input {i}: ⟨Jᵀu, v⟩ = {actual:.12}, ⟨u, Jv⟩ = {expected:.12} (allowed: {allowed:.1e})"));
        }
    }
    Ok(())
}

/// Runs `f` on every case and fails with all that went wrong.
fn over_cases(f: impl Fn(&Case) -> Result<(), String>) {
    let cases = cases();
    let failed: Vec<String> = cases.iter().filter_map(|c| f(c).err().map(|e| format!("{}: {e}", c.label()))).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn gradients_equal_finite_differences() {
    let tract = engine(EngineChoice::Tract);
    over_cases(|case| {
        if !case.double {
            return Ok(());
        }
        let count = points(case, DType::F64).len();
        let all: Vec<usize> = (0..count).collect();
        let each = if count > 1 { all.iter().map(|&i| vec![i]).collect() } else { vec![] };
        for wanted in std::iter::once(all).chain(each) {
            for dynamic in [false, true] {
                if !dynamic || case.dynamic {
                    let how = if dynamic { "symbolic batch" } else { "fixed batch" };
                    check(&*tract, case, &wanted, dynamic).map_err(|e| format!("{how}, inputs {wanted:?}: {e}"))?;
                }
            }
        }
        Ok(())
    });
}

/// The same graphs in float32: ONNX Runtime must take them and give what tract gives.
#[test]
fn onnx_runtime_agrees() {
    let (tract, ort) = (engine(EngineChoice::Tract), engine(EngineChoice::Ort));
    over_cases(|case| {
        let x = points(case, DType::F32);
        let wanted: Vec<usize> = (0..x.len()).collect();
        for dynamic in [false, true] {
            if dynamic && !case.dynamic {
                continue;
            }
            let emitted = emitted(case, &x, &wanted, dynamic)?;
            let seeds = emitted.random_seeds(&mut Random::new(11));
            let feeds = emitted.inputs.iter().zip(&x).chain(emitted.seeds.iter().map(|s| &s.0).zip(&seeds));
            let feeds: Vec<(&str, &Tensor)> = feeds.map(|(n, t)| (n.as_str(), t)).collect();
            let run = |engine: &dyn Engine, name: &str| {
                let results = load(engine, &emitted).and_then(|mut s| s.run(&feeds).map_err(|e| e.to_string()));
                results.map_err(|e| format!("{name}: {e}"))
            };
            let (a, b) = (run(&*tract, "tract")?, run(&*ort, "ONNX Runtime")?);
            for (k, (a, b)) in a.iter().zip(&b).enumerate() {
                if a.shape() != b.shape() {
                    return Err(format!("output {k} has shape {:?} in tract, {:?} in ONNX Runtime", a.shape(), b.shape()));
                }
                let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
                let largest = a.iter().fold(1.0f64, |m, v| m.max(v.abs()));
                if let Some(i) = (0..a.len()).find(|&i| (a[i] - b[i]).abs().is_nan() || (a[i] - b[i]).abs() > 1e-5 * largest) {
                    return Err(format!("output {k}, element {i}: {} in tract, {} in ONNX Runtime", a[i], b[i]));
                }
            }
        }
        Ok(())
    });
}

/// Where the batch size is known, these cases have another form; the checks above compute with it.
#[test]
fn small_maps_are_stacked() {
    for case in cases::stacked() {
        let x = points(&case, DType::F64);
        for dynamic in [false, true] {
            let model = emitted(&case, &x, &[0], dynamic).unwrap().model;
            let stacked =
                model.graph.unwrap().node.iter().any(|n| n.op_type().starts_with("Conv") && n.output[0] == "y" && !n.domain().is_empty());
            assert_eq!(stacked, !dynamic, "{}, symbolic batch: {dynamic}", case.label());
        }
    }
}

#[test]
fn every_differentiable_operator_has_a_case() {
    let covered: BTreeSet<String> = cases().iter().map(|c| c.covers().to_string()).collect();
    // Those of sequences come in chains: tests/python/test_newer_operators.py.
    let single = table::OPERATORS.iter().filter(|o| o.status() == Status::Differentiable && !o.takes_sequences());
    let differentiable = single.map(|o| o.op_type());
    let missing: Vec<&str> = differentiable.filter(|o| !covered.contains(*o)).collect();
    assert!(missing.is_empty(), "no gradient check for {missing:?}; add cases to tests/gradients/cases.rs");
    let unknown: Vec<&String> = covered.iter().filter(|o| table::find(o).is_none()).collect();
    assert!(unknown.is_empty(), "cases for operators that are not in the table: {unknown:?}");
}
