//! The engines on tiny graphs: every case runs on tract and on ONNX Runtime, and both must give the exact numbers.
//!
//! ONNX Runtime's library must be there (`spgraph runtime install`, or ORT_DYLIB_PATH): without it these tests fail.

use prost::Message;
use spgraph::engine::{self, Device, Engine, EngineChoice, EngineOptions, StatePort};
use spgraph::ir::{DType, Tensor};
use spgraph::onnx::{inline_functions, pb, to_proto};
use std::path::{Path, PathBuf};

// ---- building models ----

enum D {
    N(i64),
    Sym(&'static str),
}
use D::{N, Sym};

fn value(name: &str, dtype: DType, dims: &[D]) -> pb::ValueInfoProto {
    let dim = dims
        .iter()
        .map(|d| pb::tensor_shape_proto::Dimension {
            value: Some(match d {
                N(n) => pb::tensor_shape_proto::dimension::Value::DimValue(*n),
                Sym(s) => pb::tensor_shape_proto::dimension::Value::DimParam(s.to_string()),
            }),
            ..Default::default()
        })
        .collect();
    let tensor = pb::type_proto::Tensor { elem_type: Some(dtype.onnx()), shape: Some(pb::TensorShapeProto { dim }) };
    let r#type = Some(pb::TypeProto { value: Some(pb::type_proto::Value::TensorType(tensor)), ..Default::default() });
    pb::ValueInfoProto { name: Some(name.into()), r#type, ..Default::default() }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> pb::NodeProto {
    pb::NodeProto {
        op_type: Some(op.into()),
        name: Some(format!("{op}_{}", outputs.first().copied().unwrap_or_default())),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..Default::default()
    }
}

fn opset(domain: &str, version: i64) -> pb::OperatorSetIdProto {
    pb::OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

fn model(
    nodes: Vec<pb::NodeProto>,
    inputs: Vec<pb::ValueInfoProto>,
    outputs: Vec<pb::ValueInfoProto>,
    initializers: Vec<pb::TensorProto>,
) -> pb::ModelProto {
    pb::ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset("", 17)],
        graph: Some(pb::GraphProto {
            node: nodes,
            name: Some("test".into()),
            input: inputs,
            output: outputs,
            initializer: initializers,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn save(dir: &Path, name: &str, model: &pb::ModelProto) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

// ---- the engines ----

fn options(choice: EngineChoice) -> EngineOptions {
    EngineOptions { choice, threads: Some(2), ..Default::default() }
}

fn both() -> [(&'static str, Box<dyn Engine>); 2] {
    let tract = engine::open(&options(EngineChoice::Tract)).unwrap();
    let ort = engine::open(&options(EngineChoice::Ort)).unwrap_or_else(|e| {
        panic!("these tests need an ONNX Runtime library: run `spgraph runtime install`, or set ORT_DYLIB_PATH to one.\n{e}")
    });
    [("tract", tract), ("ort", ort)]
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_f32(shape, values)
}

/// w' = w − lr·x·k, v' = v + w (the old w), n' = n + 1, loss = Σ w·x; the constant k is 2.
fn step_model(dtype: DType) -> pb::ModelProto {
    let two = Tensor::from_floats(dtype, &[1], &[2.0]);
    model(
        vec![
            node("Mul", &["x", "k"], &["xk"]),
            node("Mul", &["xk", "lr"], &["d"]),
            node("Sub", &["w", "d"], &["w.next"]),
            node("Add", &["v", "w"], &["v.next"]),
            node("Add", &["n", "one"], &["n.next"]),
            node("Mul", &["w", "x"], &["wx"]),
            pb::NodeProto {
                attribute: vec![pb::AttributeProto {
                    name: Some("keepdims".into()),
                    r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
                    i: Some(0),
                    ..Default::default()
                }],
                ..node("ReduceSum", &["wx"], &["loss"])
            },
        ],
        vec![
            value("x", dtype, &[N(3)]),
            value("lr", dtype, &[]),
            value("w", dtype, &[N(3)]),
            value("v", dtype, &[N(3)]),
            value("n", DType::I64, &[]),
        ],
        vec![value("w.next", dtype, &[N(3)]), value("loss", dtype, &[]), value("v.next", dtype, &[N(3)]), value("n.next", DType::I64, &[])],
        vec![to_proto("k", &two), to_proto("one", &Tensor::from_i64(&[], &[1]))],
    )
}

fn step_ports() -> Vec<StatePort> {
    ["n", "w", "v"].iter().map(|s| StatePort { input: s.to_string(), output: format!("{s}.next") }).collect()
}

#[test]
fn steps_give_exact_numbers_and_state_takes_turns() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [DType::F32, DType::F64] {
        let path = save(dir.path(), "step.onnx", &step_model(dtype));
        for (name, engine) in both() {
            let t = |v: &[f64]| Tensor::from_floats(dtype, &[3], v);
            let start = vec![Tensor::from_i64(&[], &[10]), t(&[1.0, 2.0, 3.0]), t(&[0.0, 0.0, 0.0])];
            let mut stepper = engine.load_step(&path, &step_ports(), start.clone()).unwrap();
            assert_eq!(stepper.state().unwrap(), start, "{name}: before the first step the state is the start");
            // The same computation by hand.
            let (mut w, mut v, mut n) = ([1.0, 2.0, 3.0], [0.0f64; 3], 10);
            for step in 0..5 {
                let x = [1.0, 0.5, step as f64];
                let lr = 0.25 * (step + 1) as f64;
                let results = stepper.step(&[("lr", &Tensor::from_floats(dtype, &[], &[lr])), ("x", &t(&x))]).unwrap();
                let loss: f64 = (0..3).map(|i| w[i] * x[i]).sum();
                assert_eq!(results.len(), 1, "{name}");
                assert_eq!(results[0].0, "loss", "{name}");
                assert_eq!(results[0].1, Tensor::from_floats(dtype, &[], &[loss]), "{name}, {dtype}, step {step}");
                for i in 0..3 {
                    v[i] += w[i];
                    w[i] -= x[i] * 2.0 * lr;
                }
                n += 1;
                let state = stepper.state().unwrap();
                assert_eq!(state, vec![Tensor::from_i64(&[], &[n]), t(&w), t(&v)], "{name}, {dtype}, step {step}");
            }
        }
    }
}

#[test]
fn a_step_that_fails_leaves_the_state_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), "step.onnx", &step_model(DType::F32));
    for (name, engine) in both() {
        let start = vec![Tensor::from_i64(&[], &[0]), f32s(&[3], &[1.0, 2.0, 3.0]), f32s(&[3], &[0.0; 3])];
        let mut stepper = engine.load_step(&path, &step_ports(), start.clone()).unwrap();
        let lr = f32s(&[], &[0.5]);
        let x = f32s(&[3], &[1.0; 3]);
        for (feeds, word) in [
            (vec![("x", &x)], "`lr`"),
            (vec![("x", &x), ("lr", &lr), ("y", &x)], "`y`"),
            (vec![("x", &x), ("lr", &lr), ("x", &x)], "twice"),
            (vec![("x", &x), ("lr", &lr), ("w", &x)], "`w`"),
            (vec![("x", &f32s(&[4], &[1.0; 4])), ("lr", &lr)], "float32[4]"),
            (vec![("x", &f32s(&[3, 1], &[1.0; 3])), ("lr", &lr)], "float32[3, 1]"),
            (vec![("x", &Tensor::from_f64(&[3], &[1.0; 3])), ("lr", &lr)], "float64[3]"),
            (vec![("x", &x), ("lr", &f32s(&[2], &[0.5; 2]))], "lr"),
        ] {
            let error = stepper.step(&feeds).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("step.onnx"), "{name}: {error}");
            assert_eq!(stepper.state().unwrap(), start, "{name}: {error}");
        }
        stepper.step(&[("x", &x), ("lr", &lr)]).unwrap();
        assert_eq!(stepper.state().unwrap()[1], f32s(&[3], &[0.0, 1.0, 2.0]), "{name}");
    }
}

#[test]
fn state_that_the_model_does_not_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), "step.onnx", &step_model(DType::F32));
    let start = || vec![Tensor::from_i64(&[], &[0]), f32s(&[3], &[1.0, 2.0, 3.0]), f32s(&[3], &[0.0; 3])];
    for (name, engine) in both() {
        let fails = |ports: Vec<StatePort>, start: Vec<Tensor>, word: &str| {
            let error = engine.load_step(&path, &ports, start).err().unwrap_or_else(|| panic!("{name}: no error with {word}")).to_string();
            assert!(error.contains(word) && error.contains("step.onnx"), "{name}: {error}");
        };
        fails(step_ports()[..2].to_vec(), start(), "3 state tensors for 2 state ports");
        let mut ports = step_ports();
        ports[1].input = "absent".into();
        fails(ports, start(), "`absent`");
        let mut ports = step_ports();
        ports[2] = ports[1].clone();
        fails(ports, start(), "twice");
        let mut wrong = start();
        wrong[1] = f32s(&[4], &[0.0; 4]);
        fails(step_ports(), wrong, "float32[4]");
        let mut wrong = start();
        wrong[0] = f32s(&[], &[0.0]);
        fails(step_ports(), wrong, "float32[]");
    }
}

/// State that passes through: an output that is the input itself, one behind an Identity, and two that swap places.
#[test]
fn state_may_pass_through_and_swap() {
    let dir = tempfile::tempdir().unwrap();
    let f = |n: &str| value(n, DType::F32, &[N(2)]);
    let m = model(
        vec![
            node("Identity", &["a"], &["a.next"]),
            node("Identity", &["c"], &["b.next"]),
            node("Identity", &["b"], &["c.next"]),
            node("Add", &["x", "a"], &["y"]),
            node("Add", &["d", "e"], &["sum"]),
        ],
        vec![f("x"), f("z"), f("a"), f("b"), f("c"), f("d"), f("e"), f("frozen"), f("last"), f("reset")],
        ["y", "a.next", "b.next", "c.next", "d", "e", "sum", "frozen", "x", "k", "z", "a"].map(f).into(),
        vec![to_proto("k", &f32s(&[2], &[7.0, 8.0]))],
    );
    let path = save(dir.path(), "swap.onnx", &m);
    // `d` and `e` swap places without a node between; `last` becomes what was fed; `reset` becomes a constant.
    let ports: Vec<StatePort> =
        [("a", "a.next"), ("b", "b.next"), ("c", "c.next"), ("d", "e"), ("e", "d"), ("frozen", "frozen"), ("last", "x"), ("reset", "k")]
            .iter()
            .map(|(i, o)| StatePort { input: i.to_string(), output: o.to_string() })
            .collect();
    for (name, engine) in both() {
        let t = |v: f32| f32s(&[2], &[v, v]);
        let mut stepper = engine.load_step(&path, &ports, [1.0, 2.0, 3.0, 5.0, 6.0, 4.0, 0.0, 0.0].map(t).into()).unwrap();
        for step in 1..=5 {
            let x = f32s(&[2], &[step as f32, 0.0]);
            let results = stepper.step(&[("x", &x), ("z", &t(step as f32))]).unwrap();
            let want = [("y", f32s(&[2], &[step as f32 + 1.0, 1.0])), ("sum", t(11.0)), ("z", t(step as f32)), ("a", t(1.0))];
            assert_eq!(results, want.map(|(n, v)| (n.to_string(), v)), "{name}, step {step}");
            let (b, c, d, e) = if step % 2 == 1 { (3.0, 2.0, 6.0, 5.0) } else { (2.0, 3.0, 5.0, 6.0) };
            let state = vec![t(1.0), t(b), t(c), t(d), t(e), t(4.0), x, f32s(&[2], &[7.0, 8.0])];
            assert_eq!(stepper.state().unwrap(), state, "{name}, step {step}");
        }
    }
}

/// y = x·w with a symbolic batch: sizes may change from run to run, and must agree between inputs.
#[test]
fn a_symbolic_batch_takes_any_size() {
    let dir = tempfile::tempdir().unwrap();
    let m = model(
        vec![
            node("MatMul", &["x", "w"], &["h"]),
            node("Add", &["h", "t"], &["y"]),
            node("Shape", &["x"], &["shape"]),
            node("Add", &["w", "w"], &["w.next"]),
        ],
        vec![value("x", DType::F32, &[Sym("N"), N(2)]), value("t", DType::F32, &[Sym("N"), N(1)]), value("w", DType::F32, &[N(2), N(1)])],
        vec![value("y", DType::F32, &[Sym("N"), N(1)]), value("shape", DType::I64, &[N(2)]), value("w.next", DType::F32, &[N(2), N(1)])],
        vec![],
    );
    let mut m2 = m.clone();
    m2.graph.as_mut().unwrap().value_info.push(value("h", DType::F32, &[Sym("N"), N(1)]));
    for m in [m, m2] {
        let path = save(dir.path(), "batch.onnx", &m);
        for (name, engine) in both() {
            let port = StatePort { input: "w".into(), output: "w.next".into() };
            let w = f32s(&[2, 1], &[1.0, 10.0]);
            let mut session = engine.load(&path).unwrap();
            let mut stepper = engine.load_step(&path, &[port], vec![w.clone()]).unwrap();
            assert_eq!(session.signature().input_names(), ["x", "t", "w"]);
            assert_eq!(session.signature().output_names(), ["y", "shape", "w.next"]);
            for (step, n) in [3usize, 1, 3, 4, 2, 5, 6, 1].into_iter().enumerate() {
                let x = f32s(&[n, 2], &(0..2 * n).map(|v| v as f32).collect::<Vec<_>>());
                let t = f32s(&[n, 1], &vec![0.5; n]);
                let want = |scale: f32| f32s(&[n, 1], &(0..n).map(|i| (20 * i + 10 + 2 * i) as f32 * scale + 0.5).collect::<Vec<_>>());
                let shape = Tensor::from_i64(&[2], &[n as i64, 2]);
                let results = session.run(&[("w", &w), ("t", &t), ("x", &x)]).unwrap();
                assert_eq!(results[..2], [want(1.0), shape.clone()], "{name}, {n}");
                let results = stepper.step(&[("t", &t), ("x", &x)]).unwrap();
                assert_eq!(results, [("y".to_string(), want(2f32.powi(step as i32))), ("shape".to_string(), shape)], "{name}, {n}");
            }
            let error = session.run(&[("w", &w), ("t", &f32s(&[2, 1], &[0.0; 2])), ("x", &f32s(&[3, 2], &[0.0; 6]))]).unwrap_err();
            assert!(error.to_string().contains("N is 3 by the input `x`"), "{name}: {error}");
        }
    }
}

/// f(a, b) = g(a)·scale + b with g(a) = a + a, `scale` an attribute with a default, b optional in the second call.
fn function_model() -> pb::ModelProto {
    let float = pb::attribute_proto::AttributeType::Float as i32;
    let reference = pb::AttributeProto {
        name: Some("value_float".into()),
        r#type: Some(float),
        ref_attr_name: Some("scale".into()),
        ..Default::default()
    };
    let call = |op: &str, inputs: &[&str], outputs: &[&str]| pb::NodeProto { domain: Some("test".into()), ..node(op, inputs, outputs) };
    let function = |name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<pb::NodeProto>| pb::FunctionProto {
        name: Some(name.into()),
        domain: Some("test".into()),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        node: nodes,
        opset_import: vec![opset("", 17), opset("test", 1)],
        ..Default::default()
    };
    let scale = |v: f32| pb::AttributeProto { name: Some("scale".into()), r#type: Some(float), f: Some(v), ..Default::default() };
    let mut f = function(
        "F",
        &["a", "b"],
        &["y", "a_again"],
        vec![
            call("G", &["a"], &["twice", "unused"]),
            pb::NodeProto { attribute: vec![reference], ..node("Constant", &[], &["s"]) },
            node("Mul", &["twice", "s"], &["scaled"]),
            node("Add", &["scaled", "b"], &["y"]),
            node("Identity", &["a"], &["a_again"]),
        ],
    );
    f.attribute_proto = vec![scale(10.0)];
    let g = function("G", &["a"], &["r", "same"], vec![node("Add", &["a", "a"], &["r"]), node("Identity", &["a"], &["same"])]);
    // The optional input of Clip is the function's optional input.
    let h = function("H", &["a", "low"], &["r"], vec![node("Clip", &["a", "low"], &["r"])]);
    let mut m = model(
        vec![
            pb::NodeProto { attribute: vec![scale(3.0)], ..call("F", &["x", "x"], &["one", "unused"]) },
            call("F", &["one", "x"], &["two", "one_again"]),
            call("G", &["two"], &["", "two_again"]),
            call("H", &["two_again"], &["h"]),
            call("H", &["h", "low"], &["clipped"]),
            // A name that an inlined value would like to have.
            node("Neg", &["x"], &["F_one/scaled"]),
        ],
        vec![value("x", DType::F32, &[N(2)])],
        vec![
            value("one", DType::F32, &[N(2)]),
            value("clipped", DType::F32, &[N(2)]),
            value("one_again", DType::F32, &[N(2)]),
            value("F_one/scaled", DType::F32, &[N(2)]),
        ],
        vec![to_proto("low", &f32s(&[], &[100.0]))],
    );
    m.functions = vec![f, g, h];
    m.opset_import.push(opset("test", 1));
    m
}

#[test]
fn model_local_functions_run_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let m = function_model();
    let mut inlined = m.clone();
    inline_functions(&mut inlined).unwrap();
    assert!(inlined.functions.is_empty());
    let nodes = &inlined.graph.as_ref().unwrap().node;
    assert!(nodes.iter().all(|n| n.domain().is_empty()), "{nodes:?}");
    let mut names: Vec<&str> = nodes.iter().flat_map(|n| n.output.iter().map(|s| s.as_str())).filter(|s| !s.is_empty()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "every value is computed once");

    let x = f32s(&[2], &[1.0, 2.0]);
    // one = 2x·3 + x = 7x; two = 2·one·10 + x = 141x
    let want = vec![f32s(&[2], &[7.0, 14.0]), f32s(&[2], &[141.0, 282.0]), f32s(&[2], &[7.0, 14.0]), f32s(&[2], &[-1.0, -2.0])];
    for (file, m) in [("functions.onnx", &m), ("inlined.onnx", &inlined)] {
        let path = save(dir.path(), file, m);
        for (name, engine) in both() {
            let results = engine.load(&path).unwrap().run(&[("x", &x)]).unwrap();
            assert_eq!(results, want, "{name}, {file}");
        }
    }
}

/// ONNX Runtime refuses functions of these shapes, but the standard has them.
#[test]
fn outputs_without_a_node_of_their_own_are_carried_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = function_model();
    // G's second output is its input, passed through, and its third the first once more.
    m.functions[1].output = ["r", "a", "r"].map(String::from).into();
    m.functions[1].node.truncate(1);
    let f = |n: &str| value(n, DType::F32, &[N(2)]);
    let graph = m.graph.as_mut().unwrap();
    graph.node = vec![pb::NodeProto { domain: Some("test".into()), ..node("G", &["x"], &["p", "q", "r"]) }];
    graph.output = vec![f("p"), f("q"), f("r")];
    let path = save(dir.path(), "carried.onnx", &m);
    let tract = engine::open(&options(EngineChoice::Tract)).unwrap();
    let results = tract.load(&path).unwrap().run(&[("x", &f32s(&[2], &[1.0, 2.0]))]).unwrap();
    assert_eq!(results, vec![f32s(&[2], &[2.0, 4.0]), f32s(&[2], &[1.0, 2.0]), f32s(&[2], &[2.0, 4.0])]);
}

/// A function whose body has a subgraph that reads the function's values and names its own as the model does.
#[test]
fn subgraphs_in_functions_see_the_renamed_values() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = function_model();
    let f = |n: &str| value(n, DType::F32, &[N(2)]);
    let branch = |op: &str| {
        Some(pb::GraphProto {
            node: vec![node(op, &["h", "a"], &["x"]), node("Neg", &["x"], &["out"])],
            output: vec![f("out")],
            name: Some(op.into()),
            ..Default::default()
        })
    };
    let attribute = |name: &str, g| pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Graph as i32),
        g,
        ..Default::default()
    };
    let choose = pb::NodeProto {
        attribute: vec![attribute("then_branch", branch("Add")), attribute("else_branch", branch("Mul"))],
        ..node("If", &["c"], &["r"])
    };
    m.functions = vec![pb::FunctionProto {
        input: vec!["a".into(), "c".into()],
        output: vec!["r".into()],
        node: vec![node("Add", &["a", "a"], &["h"]), choose],
        ..m.functions[1].clone()
    }];
    let graph = m.graph.as_mut().unwrap();
    let call = |out: &str, c: &str| pb::NodeProto { domain: Some("test".into()), ..node("G", &["x", c], &[out]) };
    // One call only: tract gives all its If nodes one name, and stumbles over the second.
    graph.node = vec![call("p", "c")];
    graph.input.push(value("c", DType::Bool, &[]));
    graph.output = vec![f("p")];
    let mut inlined = m.clone();
    inline_functions(&mut inlined).unwrap();
    for (file, m) in [("functions.onnx", &m), ("inlined.onnx", &inlined)] {
        let path = save(dir.path(), file, m);
        for (name, engine) in both() {
            let mut session = engine.load(&path).unwrap();
            for (c, want) in [(true, [-3.0, -6.0]), (false, [-2.0, -8.0])] {
                let results = session.run(&[("x", &f32s(&[2], &[1.0, 2.0])), ("c", &Tensor::from_bool(&[], &[c]))]).unwrap();
                assert_eq!(results, vec![f32s(&[2], &want)], "{name}, {file}");
            }
        }
    }
}

#[test]
fn functions_that_cannot_be_inlined_are_named() {
    let mut recursive = function_model();
    recursive.functions[1].node.push(pb::NodeProto { domain: Some("test".into()), ..node("G", &["a"], &["r2"]) });
    let error = inline_functions(&mut recursive).unwrap_err().to_string();
    assert!(error.contains("test.G") && error.contains("calls itself"), "{error}");

    let mut newer = function_model();
    newer.functions[0].opset_import[0].version = Some(21);
    let error = inline_functions(&mut newer).unwrap_err().to_string();
    assert!(error.contains("test.F") && error.contains("version 21"), "{error}");

    let mut wide = function_model();
    wide.graph.as_mut().unwrap().node[2].input.push("x".into());
    let error = inline_functions(&mut wide).unwrap_err().to_string();
    assert!(error.contains("G_") && error.contains("2 inputs"), "{error}");
}

#[test]
fn every_type_goes_in_and_out() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = [
        f32s(&[2], &[1.5, -2.0]),
        Tensor::from_f64(&[2], &[1.5, -2.0]),
        Tensor::from_i64(&[2], &[i64::MAX, -2]),
        Tensor::from_bool(&[2], &[true, false]),
        Tensor::new(DType::I32, vec![2], vec![1u8, 0, 0, 0, 255, 255, 255, 255]).unwrap(),
        Tensor::new(DType::U8, vec![2], vec![1u8, 255]).unwrap(),
        Tensor::new(DType::F16, vec![2], vec![0u8, 0x3c, 0, 0xc0]).unwrap(),
    ];
    for tensor in &tensors {
        let dtype = tensor.dtype();
        let m = model(
            vec![node("Identity", &["x"], &["y"]), node("Concat", &["x", "k"], &["z"])],
            vec![value("x", dtype, &[N(2)])],
            vec![value("y", dtype, &[N(2)]), value("z", dtype, &[N(4)])],
            vec![to_proto("k", tensor)],
        );
        let mut m = m;
        m.graph.as_mut().unwrap().node[1].attribute.push(pb::AttributeProto {
            name: Some("axis".into()),
            r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
            i: Some(0),
            ..Default::default()
        });
        let path = save(dir.path(), "types.onnx", &m);
        for (name, engine) in both() {
            let results = engine.load(&path).unwrap().run(&[("x", tensor)]).unwrap();
            let twice = Tensor::new(dtype, vec![4], [&tensor.bytes()[..], &tensor.bytes()[..]].concat()).unwrap();
            assert_eq!(results, vec![tensor.clone(), twice], "{name}, {dtype}");
        }
    }
}

/// Weights in a file beside the model, and larger ones inside it, which tract gets by another way.
#[test]
fn large_and_external_weights_load() {
    let dir = tempfile::tempdir().unwrap();
    let big: Vec<f32> = (0..2000).map(|v| v as f32).collect();
    let inside = f32s(&[2000], &big);
    let outside = f32s(&[2000], &big.iter().map(|v| v * 2.0).collect::<Vec<_>>());
    let mut file = vec![7u8; 64];
    file.extend_from_slice(outside.bytes());
    std::fs::write(dir.path().join("weights.bin"), &file).unwrap();
    let entry = |k: &str, v: &str| pb::StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    let external = pb::TensorProto {
        raw_data: None,
        data_location: Some(pb::tensor_proto::DataLocation::External as i32),
        external_data: vec![entry("location", "weights.bin"), entry("offset", "64"), entry("length", "8000")],
        ..to_proto("outside", &outside)
    };
    let f = |n: &str| value(n, DType::F32, &[N(2000)]);
    let m = model(
        vec![node("Add", &["x", "inside"], &["h"]), node("Add", &["h", "outside"], &["y"])],
        vec![f("x")],
        vec![f("y")],
        vec![to_proto("inside", &inside), external],
    );
    let path = save(dir.path(), "external.onnx", &m);
    for (name, engine) in both() {
        let results = engine.load(&path).unwrap().run(&[("x", &inside)]).unwrap();
        assert_eq!(results, vec![f32s(&[2000], &big.iter().map(|v| v * 4.0).collect::<Vec<_>>())], "{name}");
    }
    std::fs::remove_file(dir.path().join("weights.bin")).unwrap();
    for (name, engine) in both() {
        let error = engine.load(&path).err().unwrap().to_string();
        assert!(error.contains("weights.bin") && error.contains("external.onnx"), "{name}: {error}");
        assert!(!error.contains('\n'), "{name}: {error}");
    }
}

/// What tract alone reads only in part: moving statistics and parameters that are no constants, training mode, and
/// float64 without a detour through float32.
#[test]
fn batch_normalization_runs_on_variable_parameters() {
    let dir = tempfile::tempdir().unwrap();
    let attribute = |name: &str, f: f32| pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Float as i32),
        f: Some(f),
        ..Default::default()
    };
    let training = pb::AttributeProto {
        name: Some("training_mode".into()),
        r#type: Some(pb::attribute_proto::AttributeType::Int as i32),
        i: Some(1),
        ..Default::default()
    };
    for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
        let (n, c, p) = (3, 2, 4);
        let data: Vec<f64> = (0..n * c * p).map(|i| ((i * 7) % 11) as f64 - 3.5).collect();
        let [scale, bias, mean, variance] = [[1.5, -2.0], [0.25, 0.5], [0.5, -1.0], [2.0, 0.5]];
        let channel = |name: &str| value(name, dtype, &[N(2)]);
        let x = || value("x", dtype, &[N(3), N(2), N(2), N(2)]);
        let inputs = ["x", "scale", "bias", "mean", "variance"];
        let fixed = pb::NodeProto { attribute: vec![attribute("epsilon", 0.125)], ..node("BatchNormalization", &inputs, &["y"]) };
        let trained = pb::NodeProto {
            attribute: vec![attribute("epsilon", 0.125), attribute("momentum", 0.75), training.clone()],
            ..node("BatchNormalization", &inputs, &["z", "mean.next", "variance.next"])
        };
        let m = model(
            vec![fixed, trained],
            vec![x(), channel("scale"), channel("bias"), channel("mean"), channel("variance")],
            vec![
                value("y", dtype, &[N(3), N(2), N(2), N(2)]),
                value("z", dtype, &[N(3), N(2), N(2), N(2)]),
                channel("mean.next"),
                channel("variance.next"),
            ],
            vec![],
        );
        let path = save(dir.path(), "norm.onnx", &m);
        let of_channel = |ch: usize| (0..n).flat_map(move |i| (0..p).map(move |j| (i * c + ch) * p + j));
        let mut want = [vec![0.0; data.len()], vec![0.0; data.len()], vec![], vec![]];
        for ch in 0..c {
            let count = (n * p) as f64;
            let m = of_channel(ch).map(|i| data[i]).sum::<f64>() / count;
            let v = of_channel(ch).map(|i| (data[i] - m).powi(2)).sum::<f64>() / count;
            for i in of_channel(ch) {
                want[0][i] = (data[i] - mean[ch]) / (variance[ch] + 0.125).sqrt() * scale[ch] + bias[ch];
                want[1][i] = (data[i] - m) / (v + 0.125).sqrt() * scale[ch] + bias[ch];
            }
            want[2].push(0.75 * mean[ch] + 0.25 * m);
            want[3].push(0.75 * variance[ch] + 0.25 * v);
        }
        let t = |shape: &[usize], v: &[f64]| Tensor::from_floats(dtype, shape, v);
        let feeds = [t(&[3, 2, 2, 2], &data), t(&[2], &scale), t(&[2], &bias), t(&[2], &mean), t(&[2], &variance)];
        let feeds: Vec<(&str, &Tensor)> = inputs.into_iter().zip(&feeds).collect();
        for (name, engine) in both() {
            let results = engine.load(&path).unwrap().run(&feeds).unwrap();
            for (at, (result, want)) in results.iter().zip(&want).enumerate() {
                for (a, b) in result.to_f64().unwrap().iter().zip(want) {
                    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}, {dtype}, output {at}: {a} and {b}");
                }
            }
        }
    }
}

/// Gemm with factors and the mean of squares, in float64 and not by way of float32.
#[test]
fn tract_keeps_float64() {
    let dir = tempfile::tempdir().unwrap();
    let float = |name: &str, f: f32| pb::AttributeProto {
        name: Some(name.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Float as i32),
        f: Some(f),
        ..Default::default()
    };
    let d = |n: &str, dims: &[D]| value(n, DType::F64, dims);
    let m = model(
        vec![
            pb::NodeProto { attribute: vec![float("alpha", 0.5), float("beta", 2.0)], ..node("Gemm", &["x", "x", "c"], &["y"]) },
            node("Mul", &["y", "y"], &["square"]),
            node("ReduceMean", &["square"], &["mean"]),
            node("Sigmoid", &["mean"], &["s"]),
        ],
        vec![d("x", &[N(2), N(2)]), d("c", &[N(2)])],
        vec![d("y", &[N(2), N(2)]), d("mean", &[N(1), N(1)]), d("s", &[N(1), N(1)])],
        vec![],
    );
    let path = save(dir.path(), "double.onnx", &m);
    let third = 1.0 / 3.0;
    let feeds = [Tensor::from_f64(&[2, 2], &[third, 0.0, 0.0, 1.0]), Tensor::from_f64(&[2], &[third, 0.1])];
    for (name, engine) in both() {
        let results = engine.load(&path).unwrap().run(&[("x", &feeds[0]), ("c", &feeds[1])]).unwrap();
        let y = [third * third / 2.0 + 2.0 * third, 0.2, 2.0 * third, 0.5 + 0.2];
        let mean = y.iter().map(|v| v * v).sum::<f64>() / 4.0;
        let want = [y.to_vec(), vec![mean], vec![1.0 / (1.0 + (-mean).exp())]];
        for (result, want) in results.iter().zip(&want) {
            for (a, b) in result.to_f64().unwrap().iter().zip(want) {
                assert!((a - b).abs() < 1e-15, "{name}: {a} and {b}");
            }
        }
    }
}

#[test]
fn broken_models_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let f = |n: &str| value(n, DType::F32, &[N(2)]);
    let garbage = dir.path().join("garbage.onnx");
    std::fs::write(&garbage, b"\xff\xff\xff not a model").unwrap();
    let unknown = save(dir.path(), "unknown.onnx", &model(vec![node("Frobnicate", &["x"], &["y"])], vec![f("x")], vec![f("y")], vec![]));
    let dangling = save(dir.path(), "dangling.onnx", &model(vec![node("Neg", &["x"], &["y"])], vec![f("x")], vec![f("z")], vec![]));
    let unread = save(dir.path(), "unread.onnx", &model(vec![node("Neg", &["q"], &["y"])], vec![f("x")], vec![f("y")], vec![]));
    for (name, engine) in both() {
        for path in [&garbage, &unknown, &dangling, &unread, &dir.path().join("absent.onnx")] {
            let error = engine.load(path).err().unwrap_or_else(|| panic!("{name} loads {}", path.display())).to_string();
            assert!(error.contains(&path.display().to_string()) && !error.contains('\n'), "{name}: {error}");
        }
    }
}

#[test]
fn an_input_with_an_initializer_is_a_constant() {
    let dir = tempfile::tempdir().unwrap();
    let f = |n: &str| value(n, DType::F32, &[N(2)]);
    let k = to_proto("k", &f32s(&[2], &[1.0, 2.0]));
    let path = save(dir.path(), "old.onnx", &model(vec![node("Add", &["x", "k"], &["y"])], vec![f("k"), f("x")], vec![f("y")], vec![k]));
    for (name, engine) in both() {
        let mut session = engine.load(&path).unwrap();
        assert_eq!(session.signature().input_names(), ["x"], "{name}");
        assert_eq!(session.run(&[("x", &f32s(&[2], &[1.0, 1.0]))]).unwrap(), vec![f32s(&[2], &[2.0, 3.0])], "{name}");
    }
}

#[test]
fn cuda_is_refused_where_there_is_none() {
    let cuda = |choice| EngineOptions { choice, device: Device::Cuda, ..Default::default() };
    let error = engine::open(&cuda(EngineChoice::Tract)).err().unwrap().to_string();
    assert!(error.contains("CPU only") && error.contains(&format!("{} cpu", spgraph::Field::DEVICE)), "{error}");
    let candidates = engine::discover(&EngineOptions::default());
    if candidates.iter().any(|c| c.has_cuda) {
        return;
    }
    for choice in [EngineChoice::Auto, EngineChoice::Ort] {
        let error = engine::open(&cuda(choice)).err().unwrap().to_string();
        assert!(error.contains("no CUDA execution provider") && !error.contains('\n'), "{error}");
    }
    // A library that claims to have the provider and does not: ONNX Runtime's own refusal must come through.
    let mut library = candidates.into_iter().find(|c| c.chosen).expect("an ONNX Runtime library");
    library.has_cuda = true;
    let error = engine::OrtEngine::new(&library, &cuda(EngineChoice::Ort)).err().unwrap().to_string();
    assert!(error.contains("CUDA") && error.contains(&format!("{} cpu", spgraph::Field::DEVICE)) && !error.contains('\n'), "{error}");
}

#[test]
fn auto_takes_the_library_and_says_so() {
    let engine = engine::open(&EngineOptions::default()).unwrap();
    let text = engine.describe();
    assert!(text.starts_with("ONNX Runtime 1.") && text.contains("CPU, all cores"), "{text}");
    assert!(engine.origin().contains("libonnxruntime"), "{}", engine.origin());
    let tract = engine::open(&options(EngineChoice::Tract)).unwrap().describe();
    assert!(tract.starts_with("tract ") && tract.contains("2 threads"), "{tract}");
    let json = serde_json::to_value(engine::discover(&EngineOptions::default())).unwrap();
    assert_eq!(json.as_array().unwrap().iter().filter(|c| c["chosen"] == true).count(), 1, "{json}");
}

#[test]
fn a_second_library_is_refused() {
    let first = engine::open(&options(EngineChoice::Ort)).unwrap();
    let path = engine::discover(&EngineOptions::default()).into_iter().find(|c| c.chosen).unwrap().path;
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(path.file_name().unwrap());
    std::fs::copy(&path, &copy).unwrap();
    let options = EngineOptions { ort_lib: Some(copy.clone()), ..options(EngineChoice::Ort) };
    let error = engine::open(&options).err().unwrap().to_string();
    assert!(error.contains("one only") && error.contains(&copy.display().to_string()), "{error}");
    drop(first);
}
