//! Steps as they run for a recorded graph of CUDA's, on the processor: from and to buffers that stay where they are, each step more than once, as recording one does.

use crate::shared;
use prost::Message;
use spgraph::bundle::manifest::BatchNormMode;
use spgraph::bundle::{Bundle, Options, Setting, start_state};
use spgraph::data::Batch;
use spgraph::engine::{self, Engine, EngineChoice, EngineOptions, Kernels, OrtEngine, StatePort};
use spgraph::error::Error;
use spgraph::import::BatchSize;
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{pb, to_proto};
use spgraph::optim::{AdamW, Optimizer, UpdateRule};
use spgraph::train::{Scalars, TrainingStep};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

fn ort(kernels: Kernels) -> OrtEngine {
    let options = EngineOptions { choice: EngineChoice::Ort, threads: Some(1), kernels, ..Default::default() };
    let library = engine::discover(&options).into_iter().find(|c| c.chosen).expect("an ONNX Runtime library");
    OrtEngine::new(&library, &options).unwrap()
}

fn plain() -> OrtEngine {
    ort(Kernels::Standard)
}

/// Random images, and scalars with another learning rate for each step.
fn batches(bundle: &Bundle) -> Vec<(Batch, Scalars)> {
    let shape: Vec<usize> = bundle.manifest.data.input.shape.iter().map(|&d| d as usize).collect();
    let mut random = shared::Random::new(7);
    (0..6)
        .map(|number| {
            let values: Vec<f32> = random.list(shape.iter().product(), -1.0, 1.0).into_iter().map(|v| v as f32).collect();
            let labels: Vec<i64> = random.list(shape[0], 0.0, 3.0).into_iter().map(|v| v as i64).collect();
            let batch = Batch {
                data: Tensor::from_f32(&shape, &values),
                target: Tensor::from_i64(&[shape[0]], &labels),
                mixed: None,
                valid: shape[0],
                indices: vec![],
                epoch: 0,
                number,
                notes: vec![],
                wait: Duration::ZERO,
            };
            (batch, Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 0.01 / (1 + number) as f64).unwrap())
        })
        .collect()
}

/// What each step gives, and the state after it.
type Steps = Vec<(String, Vec<Tensor>)>;

fn trained(engine: &dyn Engine, bundle: &Bundle) -> Steps {
    let mut step = TrainingStep::load(engine, bundle, start_state(bundle).unwrap()).unwrap();
    let mut one = |(batch, scalars): &(Batch, Scalars)| {
        let result = step.run(&batch.data, &batch.target, scalars).unwrap();
        (format!("{result:?}"), step.state().unwrap())
    };
    batches(bundle).iter().map(&mut one).collect()
}

/// The same, each batch fed while the step before it is under way, but for those that are not there in time.
fn trained_ahead(engine: &dyn Engine, bundle: &Bundle, late: &[usize]) -> Steps {
    let mut step = TrainingStep::load(engine, bundle, start_state(bundle).unwrap()).unwrap();
    let batches = batches(bundle);
    let mut given = None;
    let mut one = |(at, (batch, scalars)): (usize, &(Batch, Scalars))| {
        let batch = given.take().unwrap_or_else(|| batch.clone());
        let mut next = || {
            let (batch, scalars) = batches.get(at + 1).filter(|_| !late.contains(&(at + 1)))?.clone();
            Some((scalars, Ok(batch)))
        };
        let (result, next) = step.run_ahead(&batch, scalars, &mut next).unwrap();
        given = next.transpose().unwrap();
        (format!("{result:?}"), step.state().unwrap())
    };
    batches.iter().enumerate().map(&mut one).collect()
}

#[test]
fn a_step_that_runs_more_than_once_gives_the_same_bits() {
    let adamw = Optimizer { rule: UpdateRule::AdamW(AdamW::default()), clip_norm: Some(1.0), ema: Some(0.9), ..Optimizer::default() };
    let small = || Options { batch: BatchSize::Fixed(3), ..Options::default() };
    for (network, options) in [
        ("basic.bn.onnx", Options { batch_norm: Some(BatchNormMode::Train), ..small() }),
        ("mobilenet.bn.onnx", Options { optimizer: adamw, ..small() }),
        ("tokens.onnx", small()),
    ] {
        let (_work, bundle) = shared::bundle(network, &options);
        let wanted = trained(&plain(), &bundle);
        assert_ne!(wanted[0].0, wanted[1].0);
        for times in 1..=3 {
            let found = trained(&plain().with_fixed_buffers(times), &bundle);
            check(&found, &wanted, &format!("{network}, {times} times"));
            for late in [&[][..], &[3], &[1, 2, 3, 4, 5]] {
                let found = trained_ahead(&plain().with_fixed_buffers(times), &bundle, late);
                check(&found, &wanted, &format!("{network}, {times} times, ahead but for {late:?}"));
            }
        }
        check(&trained_ahead(&plain(), &bundle, &[]), &wanted, network);
    }
}

fn check(found: &Steps, wanted: &Steps, what: &str) {
    assert_eq!(found.len(), wanted.len());
    for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(found.0, wanted.0, "{what}, step {at}");
        assert!(found.1 == wanted.1, "{what}: the state after step {at}");
    }
}

/// What was fed ahead is not taken for another batch, or for another learning rate.
#[test]
fn what_was_fed_ahead_is_run_for_that_step_alone() {
    let (_work, bundle) = shared::bundle("basic.bn.onnx", &Options { batch: BatchSize::Fixed(3), ..Options::default() });
    let all = batches(&bundle);
    let run = |fixed: bool| {
        let engine = if fixed { plain().with_fixed_buffers(1) } else { plain() };
        let mut step = TrainingStep::load(&engine, &bundle, start_state(&bundle).unwrap()).unwrap();
        let announced = |at: usize| Some((all[at].1.clone(), Ok(all[at].0.clone())));
        step.run_ahead(&all[0].0, &all[0].1, &mut || announced(1)).unwrap();
        // Another batch, then another rate, then another call.
        step.run_ahead(&all[2].0, &all[2].1, &mut || announced(3)).unwrap();
        step.run_ahead(&all[3].0, &all[4].1, &mut || announced(4)).unwrap();
        step.run(&all[5].0.data, &all[5].0.target, &all[5].1).unwrap();
        // A batch that could not be read leaves the step that was under way as it is.
        let (_, failed) = step.run_ahead(&all[0].0, &all[0].1, &mut || Some((all[1].1.clone(), Err(Error::data("damaged"))))).unwrap();
        assert_eq!(failed.is_some(), fixed);
        step.state().unwrap()
    };
    assert!(run(true) == run(false));
}

#[test]
fn parts_of_a_step_come_in_turn() {
    let (_work, path) =
        saved(vec![node("Add", &["w", "x"], "w.next")], vec![value("x", &[Ok(2)]), value("w", &[Ok(2)])], vec![value("w.next", &[Ok(2)])]);
    let engine = plain().with_fixed_buffers(2);
    let mut stepper = engine.load_step(&path, &ports(&[("w", "w.next")]), vec![f32s(&[1.0, 2.0])]).unwrap();
    let x = f32s(&[1.0, 1.0]);
    let out_of_turn = |result: Result<(), Error>| assert!(result.unwrap_err().to_string().contains("out of turn"));
    out_of_turn(stepper.parts().unwrap().begin());
    out_of_turn(stepper.parts().unwrap().end().map(drop));
    let parts = stepper.parts().unwrap();
    parts.feed(&[("x", &f32s(&[9.0, 9.0]))]).unwrap();
    parts.feed(&[("x", &x)]).unwrap();
    parts.begin().unwrap();
    out_of_turn(parts.begin());
    assert!(parts.feed(&[("x", &f32s(&[1.0]))]).is_err());
    parts.feed(&[("x", &x)]).unwrap();
    out_of_turn(parts.begin());
    out_of_turn(stepper.state().map(drop));
    let parts = stepper.parts().unwrap();
    parts.end().unwrap();
    out_of_turn(parts.end().map(drop));
    assert_eq!(stepper.state().unwrap(), vec![f32s(&[2.0, 3.0])]);
    let parts = stepper.parts().unwrap();
    parts.begin().unwrap();
    parts.end().unwrap();
    assert_eq!(stepper.state().unwrap(), vec![f32s(&[3.0, 4.0])]);
    assert!(plain().load_step(&path, &ports(&[("w", "w.next")]), vec![f32s(&[1.0, 2.0])]).unwrap().parts().is_none());
}

/// A value of numbers in float32, with a name for a dimension that is open.
fn value(name: &str, dims: &[Result<i64, &str>]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::dimension::Value;
    let dim = dims.iter().map(|d| match d {
        Ok(n) => Value::DimValue(*n),
        Err(name) => Value::DimParam(name.to_string()),
    });
    let dim = dim.map(|value| pb::tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }).collect();
    let tensor = pb::type_proto::Tensor { elem_type: Some(DType::F32.onnx()), shape: Some(pb::TensorShapeProto { dim }) };
    let r#type = Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() });
    pb::ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn node(op: &str, inputs: &[&str], output: &str) -> pb::NodeProto {
    let input = inputs.iter().map(|s| s.to_string()).collect();
    pb::NodeProto { op_type: Some(op.into()), name: Some(output.into()), input, output: vec![output.into()], ..Default::default() }
}

fn saved(nodes: Vec<pb::NodeProto>, input: Vec<pb::ValueInfoProto>, output: Vec<pb::ValueInfoProto>) -> (TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("step.onnx");
    let initializer = vec![to_proto("k", &f32s(&[7.0, 8.0]))];
    let graph = pb::GraphProto { node: nodes, name: Some("test".into()), input, output, initializer, ..Default::default() };
    let opset_import = vec![pb::OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }];
    std::fs::write(&path, pb::ModelProto { ir_version: Some(8), opset_import, graph: Some(graph), ..Default::default() }.encode_to_vec())
        .unwrap();
    (work, path)
}

fn f32s(values: &[f32]) -> Tensor {
    Tensor::from_f32(&[values.len()], values)
}

fn ports(pairs: &[(&str, &str)]) -> Vec<StatePort> {
    pairs.iter().map(|(input, output)| StatePort { input: input.to_string(), output: output.to_string() }).collect()
}

/// ONNX Runtime leaves a buffer untouched that is bound to an output that is an input: results and state that are passed on must be looked up.
#[test]
fn what_is_passed_on_is_this_step_s() {
    let f = |name: &str| value(name, &[Ok(2)]);
    let (_work, path) = saved(
        vec![
            node("Identity", &["c"], "b.next"),
            node("Identity", &["b"], "c.next"),
            node("Add", &["x", "a"], "y"),
            node("Add", &["d", "e"], "sum"),
        ],
        ["x", "z", "a", "b", "c", "d", "e", "last", "reset"].map(f).into(),
        ["y", "a", "b.next", "c.next", "d", "e", "sum", "x", "k", "z"].map(f).into(),
    );
    let ports = ports(&[("b", "b.next"), ("c", "c.next"), ("d", "e"), ("e", "d"), ("last", "x"), ("reset", "k"), ("a", "a")]);
    let t = |v: f32| f32s(&[v, v]);
    for times in 1..=3 {
        let engine = plain().with_fixed_buffers(times);
        let mut stepper = engine.load_step(&path, &ports, [2.0, 3.0, 5.0, 6.0, 0.0, 0.0, 1.0].map(t).into()).unwrap();
        for step in 1..=5 {
            let x = f32s(&[step as f32, 0.0]);
            let results = stepper.step(&[("x", &x), ("z", &t(step as f32))]).unwrap();
            let wanted = [("y", f32s(&[step as f32 + 1.0, 1.0])), ("sum", t(11.0)), ("z", t(step as f32))];
            assert_eq!(results, wanted.map(|(n, v)| (n.to_string(), v)), "step {step}");
            let (b, c, d, e) = if step % 2 == 1 { (3.0, 2.0, 6.0, 5.0) } else { (2.0, 3.0, 5.0, 6.0) };
            assert_eq!(stepper.state().unwrap(), vec![t(b), t(c), t(d), t(e), x, f32s(&[7.0, 8.0]), t(1.0)], "step {step}");
        }
    }
}

#[test]
fn a_step_of_another_size_is_refused_and_changes_nothing() {
    let mean = node("ReduceMean", &["x"], "loss");
    let keep = pb::AttributeProto { name: Some("keepdims".into()), r#type: Some(2), i: Some(0), ..Default::default() };
    let (_work, path) = saved(
        vec![pb::NodeProto { attribute: vec![keep], ..mean }, node("Add", &["w", "loss"], "w.next")],
        vec![value("x", &[Err("N")]), value("w", &[Ok(2)])],
        vec![value("loss", &[]), value("w.next", &[Ok(2)])],
    );
    let engine = plain().with_fixed_buffers(2);
    let mut stepper = engine.load_step(&path, &ports(&[("w", "w.next")]), vec![f32s(&[1.0, 2.0])]).unwrap();
    stepper.step(&[("x", &f32s(&[1.0, 3.0, 2.0]))]).unwrap();
    let error = stepper.step(&[("x", &f32s(&[1.0, 3.0]))]).unwrap_err().to_string();
    for part in ["`x`", "[2]", "[3]", "option `engine.cuda_graph`", "option `drop_last`"] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
    assert_eq!(stepper.state().unwrap(), vec![f32s(&[3.0, 4.0])]);
    assert_eq!(stepper.step(&[("x", &f32s(&[1.0, 1.0, 1.0]))]).unwrap()[0].1, Tensor::from_f32(&[], &[1.0]));
    assert_eq!(stepper.state().unwrap(), vec![f32s(&[4.0, 5.0])]);
}

#[test]
fn what_cannot_be_recorded_is_refused_by_name() {
    // State that is updated in place, which native kernels do.
    let (_work, bundle) = shared::bundle("basic.bn.onnx", &Options { batch: BatchSize::Fixed(3), ..Options::default() });
    let error =
        TrainingStep::load(&ort(Kernels::Native).with_fixed_buffers(2), &bundle, start_state(&bundle).unwrap()).err().unwrap().to_string();
    assert!(error.contains("updated in place") && error.contains("cuda_graph"), "{error}");
    // A result of open size.
    let sized = |name: &str| value(name, &[Err("N")]);
    let (_work, path) = saved(
        vec![node("Neg", &["x"], "y"), node("Neg", &["w"], "w.next")],
        vec![sized("x"), value("w", &[Ok(2)])],
        vec![sized("y"), value("w.next", &[Ok(2)])],
    );
    let error =
        plain().with_fixed_buffers(1).load_step(&path, &ports(&[("w", "w.next")]), vec![f32s(&[1.0, 2.0])]).err().unwrap().to_string();
    assert!(error.contains("`y`, float32[N]") && error.contains("no fixed shape"), "{error}");
    // Times of nodes.
    let error = plain().with_fixed_buffers(1).profile(&path, &[], vec![], &[], 1).unwrap_err().to_string();
    assert!(error.contains("no times of their own") && error.contains("cuda_graph"), "{error}");
}
