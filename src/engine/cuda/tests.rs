//! Graphs with the kernels for CUDA mean what they meant: each kernel is written out in ONNX's operators again, by what its attributes say, and both graphs run.

use super::source::{ROUND_BF16, ROUND_F16};
use super::*;
use crate::artifact::make_bundle;
use crate::bundle::manifest::BatchNormMode;
use crate::bundle::{Bundle, GraphPrecision, Options};
use crate::engine::model::{emitted, read_model, typed};
use crate::engine::native::Operation;
use crate::engine::{EngineChoice, EngineOptions, Kernels, PortDim, Session as Runtime, open};
use crate::import::BatchSize;
use crate::ir::{Attr, Attrs, Becomes, DType, Dim, Layout, Node, Rebuild, Tensor, TensorType, ValueId, rebuild};
use crate::operator::Builder;
use crate::ops::table;
use crate::optim::{AdamW, Optimizer, UpdateRule};
use crate::pass::{AXES, CHANNELS, CONSTANT, CONSTANTS, KEEP, MEAN, Port, RESULTS, Replaces, STEP, STEPS, SUMS};
use std::collections::HashMap;
use std::path::Path;

fn apply(b: &mut Builder, operator: &str, inputs: &[ValueId], attrs: Attrs) -> ValueId {
    b.apply(table::find(operator).unwrap(), inputs, attrs).unwrap_or_else(|e| panic!("{operator}: {e}"))
}

fn cast(b: &mut Builder, v: ValueId, to: DType) -> ValueId {
    if b.dtype(v) == to { v } else { apply(b, "Cast", &[v], [("to".to_string(), Attr::Int(to.onnx().into()))].into()) }
}

/// A step in ONNX's operators, on float32.
fn step(b: &mut Builder, code: i64, [x, y, z]: [ValueId; 3]) -> ValueId {
    match code {
        ROUND_F16 | ROUND_BF16 => {
            let half = cast(b, x, if code == ROUND_F16 { DType::F16 } else { DType::BF16 });
            return cast(b, half, DType::F32);
        }
        _ => {}
    }
    let operation = Operation::ALL[code as usize];
    let truth = |b: &mut Builder, operator: &str| {
        let is = apply(b, operator, &[x, y], Attrs::new());
        cast(b, is, DType::F32)
    };
    match operation {
        Operation::Greater | Operation::Less | Operation::GreaterOrEqual | Operation::LessOrEqual | Operation::Equal => {
            truth(b, &format!("{operation:?}"))
        }
        Operation::Same => apply(b, "Identity", &[x], Attrs::new()),
        Operation::Add | Operation::Sub | Operation::Mul | Operation::Div | Operation::Max | Operation::Min => {
            apply(b, &format!("{operation:?}"), &[x, y], Attrs::new())
        }
        Operation::Neg
        | Operation::Abs
        | Operation::Sqrt
        | Operation::Reciprocal
        | Operation::Exp
        | Operation::Relu
        | Operation::Sigmoid
        | Operation::Log
        | Operation::Tanh
        | Operation::Erf
        | Operation::HardSwish => apply(b, &format!("{operation:?}"), &[x], Attrs::new()),
        Operation::Clip => {
            let low = apply(b, "Max", &[x, y], Attrs::new());
            apply(b, "Min", &[low, z], Attrs::new())
        }
        Operation::HardSigmoid => {
            let product = apply(b, "Mul", &[x, y], Attrs::new());
            let sum = apply(b, "Add", &[product, z], Attrs::new());
            let (one, zero) = (b.number(1.0, sum), b.number(0.0, sum));
            let low = apply(b, "Min", &[sum, one], Attrs::new());
            apply(b, "Max", &[low, zero], Attrs::new())
        }
        Operation::LeakyRelu => {
            let (scaled, zero) = (apply(b, "Mul", &[x, y], Attrs::new()), b.number(0.0, x));
            let below = apply(b, "Less", &[x, zero], Attrs::new());
            apply(b, "Where", &[below, scaled, x], Attrs::new())
        }
        Operation::And => apply(b, "Mul", &[x, y], Attrs::new()),
        Operation::Or => apply(b, "Max", &[x, y], Attrs::new()),
        Operation::Not => {
            let one = b.number(1.0, x);
            apply(b, "Sub", &[one, x], Attrs::new())
        }
        Operation::Where => {
            let zero = b.number(0.0, x);
            let is = apply(b, "Equal", &[x, zero], Attrs::new());
            apply(b, "Where", &[is, z, y], Attrs::new())
        }
        other => panic!("no network here has {other:?}"),
    }
}

fn shaped(b: &mut Builder, v: ValueId, sizes: &[i64]) -> ValueId {
    let sizes = b.ints(sizes);
    apply(b, "Reshape", &[v, sizes], Attrs::new())
}

fn transposed(b: &mut Builder, v: ValueId, order: [i64; 4]) -> ValueId {
    apply(b, "Transpose", &[v], [("perm".to_string(), Attr::Ints(order.to_vec()))].into())
}

/// Names of a node's outputs and their types as they lie.
fn physical(r: &Rebuild, node: &Node) -> Vec<(String, TensorType)> {
    let mut outputs = r.outputs(node);
    for (&v, (_, ty)) in node.outputs.iter().zip(&mut outputs) {
        if let (Layout::ChannelsLast, [_, places @ ..]) = (r.source().value(v).layout, &mut ty.shape[..]) {
            places.rotate_left(1);
        }
    }
    outputs
}

/// A kernel that is none of expressions, as what it replaces.
fn replaced(r: &mut Rebuild, node: &Node, row: &Kernel, functions: &HashMap<&str, &Node>) -> Vec<ValueId> {
    let outputs = physical(r, node);
    let inputs: Vec<ValueId> = node.used().map(|v| r.get(v).unwrap()).collect();
    let mut b = Builder::new(r.graph);
    if node.op_type.starts_with("ToChannels") {
        let order = if row.outputs[0].is_image() { [0, 2, 3, 1] } else { [0, 3, 1, 2] };
        return vec![transposed(&mut b, inputs[0], order)];
    }
    let first = |b: &mut Builder, (v, port): (&ValueId, &Port)| if port.is_image() { transposed(b, *v, [0, 3, 1, 2]) } else { *v };
    let inputs: Vec<ValueId> = inputs.iter().zip(row.inputs).map(|at| first(&mut b, at)).collect();
    let made = match row.replaces {
        // What it is told besides it learns from a shape.
        Replaces::Operator("Expand") => {
            let size = node.ints(crate::pass::SIZE).to_vec();
            let sizes = b.ints(&[[1, 1].as_slice(), &size].concat());
            vec![apply(&mut b, "Expand", &[inputs[0], sizes], Attrs::new())]
        }
        Replaces::Operator(name) => vec![apply(&mut b, name, &inputs, node.attrs.clone())],
        _ => {
            let call = functions[node.name.as_str()];
            let body = call.body.as_ref().unwrap();
            let names =
                call.outputs.iter().enumerate().map(|(at, _)| (format!("{}/function{at}", node.name), body.ty(body.outputs[at]).clone()));
            let names = names.collect();
            r.node(Node { inputs: inputs.into_iter().map(Some).collect(), outputs: vec![], ..call.clone() }, names)
        }
    };
    let mut b = Builder::new(r.graph);
    let back = made.iter().zip(row.outputs).map(|(&v, port)| if port.is_image() { transposed(&mut b, v, [0, 2, 3, 1]) } else { v });
    let back: Vec<ValueId> = back.collect();
    back.iter().zip(&outputs).map(|(v, (_, t))| cast(&mut b, *v, t.dtype)).collect()
}

/// An expression in ONNX's operators.
fn written_out(r: &mut Rebuild, node: &Node) -> Vec<ValueId> {
    let inputs: Vec<ValueId> = node.used().map(|v| r.get(v).unwrap()).collect();
    let outputs = physical(r, node);
    let mut b = Builder::new(r.graph);
    let floats: Vec<ValueId> = inputs
        .iter()
        .map(|&v| {
            let float = cast(&mut b, v, DType::F32);
            // Numbers for each channel lie as ever.
            match (&b.shape(float).to_vec()[..], node.int(CHANNELS, -1)) {
                (&[c, Dim::Known(1), Dim::Known(1)], own) if c.known() == Some(own as usize) => shaped(&mut b, float, &[1, 1, own]),
                (&[n, c, Dim::Known(1), Dim::Known(1)], own) if c.known() == Some(own as usize) => {
                    let n = n.known().map_or(-1, |n| n as i64);
                    shaped(&mut b, float, &[n, 1, 1, own])
                }
                _ => float,
            }
        })
        .collect();
    let Attr::Floats(constants) = &node.attrs[CONSTANTS] else { panic!("{:?}", node.attrs) };
    let mut steps: Vec<ValueId> = vec![];
    for code in node.ints(STEPS).chunks_exact(4) {
        let operands: Vec<ValueId> = code[1..]
            .iter()
            .map(|&o| match o {
                STEP.. => steps[(o - STEP) as usize],
                CONSTANT.. => b.number(constants[(o - CONSTANT) as usize].into(), floats[0]),
                _ => floats[o as usize],
            })
            .collect();
        steps.push(step(&mut b, code[0], [operands[0], operands[1], operands[2]]));
    }
    let whole = outputs.len() - node.int(SUMS, 0) as usize;
    let results = node.ints(RESULTS).to_vec();
    let mut made: Vec<ValueId> = vec![];
    for (at, (result, (_, ty))) in results.iter().zip(&outputs).enumerate() {
        let mut value = steps[*result as usize];
        if at >= whole {
            let axes = b.ints(node.ints(AXES));
            let keep = [("keepdims".to_string(), Attr::Int(node.int(KEEP, 0)))];
            let count: usize = node.ints(AXES).iter().map(|a| b.shape(value)[*a as usize].known().unwrap()).product();
            value = apply(&mut b, "ReduceSum", &[value, axes], keep.into());
            if node.int(MEAN, 0) != 0 {
                let count = b.number(count as f64, value);
                value = apply(&mut b, "Div", &[value, count], Attrs::new());
            }
        }
        let value = cast(&mut b, value, ty.dtype);
        let shared = made.contains(&value) || inputs.contains(&value);
        made.push(if shared { apply(&mut b, "Identity", &[value], Attrs::new()) } else { value });
    }
    made
}

/// The graph without kernels; functions that they took the place of are those of `original`.
fn without_kernels(graph: &Graph, original: &Graph) -> Graph {
    let functions: HashMap<&str, &Node> = original.nodes.iter().filter(|n| n.body.is_some()).map(|n| (n.name.as_str(), n)).collect();
    rebuild(graph, |r, node| {
        if node.domain != Domain::Native {
            let lies = |v: &ValueId| r.source().value(*v).layout == Layout::ChannelsLast;
            return match node.used().chain(node.outputs.iter().copied()).any(|v| lies(&v)) {
                true => {
                    let (copy, outputs) = (r.mapped(node)?, physical(r, node));
                    Ok(Becomes::Values(r.node(copy, outputs)))
                }
                false => Ok(Becomes::Itself),
            };
        }
        let made = match node.op_type.starts_with("Elementwise") {
            true => written_out(r, node),
            false => replaced(r, node, rows().map(|(_, row)| row).find(|row| row.name == node.op_type).unwrap(), &functions),
        };
        for (&v, &here) in node.outputs.iter().zip(&made) {
            r.name_as(here, v);
        }
        Ok(Becomes::Values(made))
    })
    .unwrap()
}

fn feeds(runtime: &dyn Runtime, dir: &Path) -> Vec<(String, Tensor)> {
    let bundle = Bundle::open(dir).unwrap();
    let engine = open(&EngineOptions { choice: EngineChoice::Tract, ..EngineOptions::default() }).unwrap();
    let mut init = engine.load(&dir.join("init.onnx")).unwrap();
    let names: Vec<String> = init.signature().outputs.iter().map(|p| p.name.clone()).collect();
    let state: HashMap<String, Tensor> = names.into_iter().zip(init.run(&[]).unwrap()).collect();
    let mut seed = 1u32;
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as f32 / (1 << 24) as f32
    };
    let fed = |port: &crate::engine::GraphPort, next: &mut dyn FnMut() -> f32| {
        let of_state = bundle.manifest.state.iter().find(|s| s.input == port.name).map(|s| state[&s.name].clone());
        let of_scalar = bundle.manifest.scalars.iter().find(|s| s.name == port.name).map(|s| Tensor::from_f32(&[], &[s.default as f32]));
        of_state.or(of_scalar).unwrap_or_else(|| {
            // Of any batch, three images.
            let shape: Vec<usize> = port.dims.iter().flatten().map(|d| if let PortDim::Known(n) = d { *n } else { 3 }).collect();
            let count = shape.iter().product();
            match port.dtype {
                DType::I64 => Tensor::from_i64(&shape, &(0..count as i64).map(|i| i % 3).collect::<Vec<_>>()),
                _ => Tensor::from_f32(&shape, &(0..count).map(|_| next() * 4.0 - 2.0).collect::<Vec<f32>>()),
            }
        })
    };
    runtime.signature().inputs.iter().map(|port| (port.name.clone(), fed(port, &mut next))).collect()
}

type Outputs = Vec<(String, Vec<f64>)>;

fn run(runtime: &mut dyn Runtime, fed: &[(String, Tensor)]) -> Outputs {
    let fed: Vec<(&str, &Tensor)> = fed.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let values = runtime.run(&fed).unwrap();
    let names: Vec<String> = runtime.signature().outputs.iter().map(|p| p.name.clone()).collect();
    names.into_iter().zip(values.iter().map(|t| t.to_f64().unwrap())).collect()
}

/// Operators all of whose tensors are of one type.
fn typed_rows() -> impl Iterator<Item = (DType, &'static Kernel)> {
    rows().filter(|(_, row)| !row.name.starts_with("Elementwise"))
}

/// What a step gives, and what it gives with the kernels written out, of the same state and images.
fn both(model: &str, options: &Options, choice: EngineChoice, tf32: bool) -> [Outputs; 2] {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("bundle");
    make_bundle(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(model), &dir, options, false).unwrap();
    let file = read_model(&dir.join("step.onnx")).unwrap();
    let original = typed(&file).unwrap();
    let mut graph = original.clone();
    prepare(&mut graph, tf32).unwrap();
    graph.verify().unwrap();
    let kernels = graph.nodes.iter().filter(|n| n.domain == Domain::Native).count();
    assert!(kernels >= 10, "{model}: {kernels} kernels");
    // Each form has tensors of its type alone.
    for (node, (ty, _)) in graph.nodes.iter().filter_map(|n| Some((n, typed_rows().find(|(_, row)| n.is_of(Domain::Native, row.name))?))) {
        assert!(node.used().chain(node.outputs.iter().copied()).all(|v| graph.ty(v).dtype == ty), "{model}: {}", node.name);
    }
    let again = without_kernels(&graph, &original);
    let path = dir.join("again.onnx");
    std::fs::write(&path, prost::Message::encode_to_vec(&emitted(&again, &file).unwrap())).unwrap();
    let engine = open(&EngineOptions { choice, kernels: Kernels::Standard, ..EngineOptions::default() }).unwrap();
    let (mut one, mut two) = (engine.load(&dir.join("step.onnx")).unwrap(), engine.load(&path).unwrap());
    let fed = feeds(&*one, &dir);
    [run(&mut *one, &fed), run(&mut *two, &fed)]
}

/// How far the second is from the first, and how long the first is.
fn distance(a: &[f64], b: &[f64]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let (off, size) = a.iter().zip(b).fold((0.0, 0.0), |(off, size), (a, b)| (off + (a - b).powi(2), size + a * a));
    (f64::sqrt(off), f64::sqrt(size))
}

fn check(model: &str, options: &Options) {
    // With channels last, and as ONNX has images.
    for tf32 in [true, false] {
        let [expected, found] = both(model, options, EngineChoice::Tract, tf32);
        for ((name, a), (_, b)) in expected.iter().zip(&found) {
            let (off, size) = distance(a, b);
            // Sums of what cancels in another order, too, where channels are last.
            assert!(off <= 5e-5 * size.max(1e-3), "{model}: {name} is off by {off:e} of {size:e}");
        }
    }
}

fn small() -> Options {
    Options { batch: BatchSize::Fixed(3), ..Options::default() }
}

#[test]
fn steps_are_what_they_were() {
    let networks = ["basic", "bottleneck.bn", "grouped.bn", "mobilenet.bn", "dilated.bn", "asymmetric.bn", "leaky.bn", "dense"];
    for model in networks {
        check(&format!("{model}.onnx"), &small());
    }
    check("bottleneck.bn.onnx", &Options { batch_norm: Some(BatchNormMode::Train), ..small() });
    let optimizer = Optimizer { rule: UpdateRule::AdamW(AdamW::default()), clip_norm: Some(1.0), ema: Some(0.9), ..Optimizer::default() };
    check("basic.bn.onnx", &Options { optimizer, ..small() });
    check("basic.bn.onnx", &Options { label_smoothing: 0.1, ..small() });
    check("bottleneck.bn.onnx", &Options::default());
}

/// In half precision each result is rounded, by up to 1 in 2048: where there is no bend for a rounding to throw a number to the other side of, a step in such numbers is within a
/// few of them of the one in float32. (ONNX Runtime's processor leaves roundings out between operators that it computes in float32, so that its step is no measure.)
#[test]
fn steps_in_half_precision_are_near_float32() {
    for (model, limit) in [("silu.bn.onnx", 1e-2), ("basic.bn.onnx", 0.1)] {
        for batch_norm in [BatchNormMode::Frozen, BatchNormMode::Train] {
            let float32 = Options { batch_norm: Some(batch_norm), ..small() };
            let [truth, _] = both(model, &float32, EngineChoice::Tract, false);
            let [_, found] = both(model, &Options { precision: GraphPrecision::MixedF16, ..float32 }, EngineChoice::Ort, false);
            for (name, truth) in &truth {
                let (_, found) = found.iter().find(|(n, _)| n == name).unwrap();
                let (off, size) = distance(truth, found);
                assert!(off <= limit * size.max(1e-3), "{model}: {name} is off by {off:e} of {size:e}");
            }
        }
    }
}

#[test]
fn every_kernel_has_a_name_and_a_place_of_its_own() {
    let rows: Vec<&Kernel> = rows().map(|(_, row)| row).collect();
    let names: std::collections::HashSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len());
    for row in rows {
        match row.replaces {
            crate::pass::Replaces::Function(function) => assert_eq!(crate::functions::find(function.name), Some(function)),
            crate::pass::Replaces::Operator(name) => assert!(table::find(name).is_some(), "{name}"),
            crate::pass::Replaces::Nothing => assert!(row.name.starts_with("Elementwise") || row.name.starts_with("ToChannels")),
        }
    }
}
