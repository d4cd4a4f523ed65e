//! Every rule for the gradients of single samples against the ordinary gradient rule, run on one sample at a time in float64.
//! (The ordinary rules are checked by finite differences in tests/gradients.)

mod shared;

use shared::{Random, engine};
use spgraph::emit::{self, Dialect};
use spgraph::engine::{EngineChoice, Session};
use spgraph::ir::{Attr, Attrs, DType, Graph, Node, Tensor, TensorType, ValueId};
use spgraph::onnx;
use spgraph::operator::{Builder, Grad, Operator, PerSample, Samples};
use spgraph::ops::table;
use std::collections::BTreeSet;

const ROWS: usize = 2;
const COPIES: usize = 3;

/// One node: its data has `lead` entries of the leading axis for each row.
struct Case {
    op: &'static str,
    lead: usize,
    data: Vec<usize>,
    /// By place among the inputs, `None` for the data. All but those in `fixed` are parameters.
    inputs: Vec<Option<Vec<usize>>>,
    fixed: Vec<usize>,
    attrs: Attrs,
}

impl Case {
    fn new(op: &'static str, data: &[usize], parameters: &[&[usize]]) -> Case {
        let inputs = std::iter::once(None).chain(parameters.iter().map(|p| Some(p.to_vec()))).collect();
        Case { op, lead: 1, data: data.to_vec(), inputs, fixed: vec![], attrs: Attrs::new() }
    }

    fn ints(mut self, name: &str, values: &[i64]) -> Case {
        self.attrs.insert(name.into(), Attr::Ints(values.to_vec()));
        self
    }

    fn int(mut self, name: &str, value: i64) -> Case {
        self.attrs.insert(name.into(), Attr::Int(value));
        self
    }

    fn float(mut self, name: &str, value: f32) -> Case {
        self.attrs.insert(name.into(), Attr::Float(value));
        self
    }

    fn lead(mut self, lead: usize) -> Case {
        self.lead = lead;
        self
    }

    fn fixed(mut self, places: &[usize]) -> Case {
        self.fixed = places.to_vec();
        self
    }

    fn swapped(mut self) -> Case {
        self.inputs.reverse();
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new("Conv", &[3, 7, 6], &[&[4, 3, 3, 2], &[4]]).ints("strides", &[2, 1]).ints("pads", &[1, 0, 2, 1]),
        Case::new("Conv", &[4, 6, 6], &[&[6, 2, 3, 3]]).int("group", 2).ints("dilations", &[2, 1]).ints("pads", &[1, 1, 1, 1]),
        Case::new("Conv", &[3, 5, 5], &[&[3, 1, 3, 3], &[3]]).int("group", 3),
        Case::new("Conv", &[2, 9], &[&[3, 2, 4]]).ints("strides", &[3]),
        Case::new("Conv", &[2, 3, 4, 3], &[&[2, 2, 2, 2, 1]]),
        Case::new("Conv", &[5, 1, 1], &[&[3, 5, 1, 1], &[3]]),
        Case::new("Conv", &[3, 11, 11], &[&[4, 3, 7, 7]]).ints("strides", &[2, 2]).ints("pads", &[3, 3, 3, 3]),
        Case::new("ConvTranspose", &[3, 4, 3], &[&[3, 2, 3, 3], &[2]]).ints("strides", &[2, 2]).ints("pads", &[1, 0, 1, 0]),
        Case::new("ConvTranspose", &[4, 4, 4], &[&[4, 3, 2, 2]]).int("group", 2),
        Case::new("Gemm", &[5], &[&[4, 5], &[4]]).int("transB", 1).float("alpha", 0.5).float("beta", 2.0),
        Case::new("Gemm", &[5], &[&[5, 4], &[1, 4]]),
        Case::new("Gemm", &[5], &[&[5, 4], &[1]]),
        Case::new("Gemm", &[5], &[&[5, 4], &[4]]).lead(3),
        Case::new("MatMul", &[5], &[&[5, 4]]),
        Case::new("MatMul", &[3, 5], &[&[5, 4]]),
        Case::new("MatMul", &[2, 3, 5], &[&[5, 4]]),
        Case::new("MatMul", &[5], &[&[5, 4]]).lead(4),
        Case::new("Add", &[3, 4], &[&[4]]),
        Case::new("Add", &[3, 4, 2], &[&[3, 1, 1]]).swapped(),
        Case::new("Add", &[4], &[&[1, 4]]).lead(2),
        Case::new("PRelu", &[3, 4], &[&[3, 1]]),
        Case::new("PRelu", &[4], &[&[1]]).lead(2),
        Case::new("LayerNormalization", &[3, 5], &[&[5], &[5]]).float("epsilon", 1e-2).int("stash_type", 11),
        Case::new("LayerNormalization", &[3, 5], &[&[3, 5], &[1, 5]]).int("axis", 1).int("stash_type", 11),
        Case::new("LayerNormalization", &[5], &[&[5]]).lead(3).int("stash_type", 11),
        Case::new("RMSNormalization", &[3, 5], &[&[5]]).float("epsilon", 1e-2),
        Case::new("InstanceNormalization", &[3, 4, 5], &[&[3], &[3]]),
        Case::new("GroupNormalization", &[6, 2, 3], &[&[6], &[6]]).int("num_groups", 2),
        Case::new("GroupNormalization", &[6, 2, 3], &[&[3], &[3]]).int("num_groups", 3),
        Case::new("BatchNormalization", &[3, 4, 5], &[&[3], &[3], &[3], &[3]]).fixed(&[3, 4]).float("epsilon", 1e-2),
        Case::new("BatchNormalization", &[3], &[&[3], &[3], &[3], &[3]]).fixed(&[3, 4]),
    ]
}

/// From 0.1 to 1.1, the same for the same seed.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    Random::new(seed).list(count, 0.1, 1.1)
}

/// The node in a graph of its own for so many rows, and its parameters with their places.
fn forward(case: &Case, rows: usize) -> (Graph, ValueId, Vec<(usize, ValueId)>) {
    let mut graph = Graph::new("case");
    let shape: Vec<usize> = std::iter::once(rows * case.lead).chain(case.data.iter().copied()).collect();
    let x = graph.input("x", TensorType::new(DType::F64, shape));
    let mut parameters = vec![];
    let inputs = case.inputs.iter().enumerate().map(|(i, shape)| match shape {
        None => Some(x),
        Some(shape) => {
            let values = numbers(31 + i as u64, shape.iter().product());
            let value = graph.constant(&format!("w{i}"), Tensor::from_f64(shape, &values));
            if !case.fixed.contains(&i) {
                parameters.push((i, value));
            }
            Some(value)
        }
    });
    let inputs: Vec<Option<ValueId>> = inputs.collect();
    Builder::new(&mut graph).nodes(case.op, &inputs, case.attrs.clone()).unwrap();
    let y = graph.nodes[0].outputs[0];
    (graph, y, parameters)
}

fn grad(graph: &Graph, parameters: &[(usize, ValueId)], dy: ValueId) -> Grad {
    let node = graph.nodes[0].clone();
    let needs = (0..node.inputs.len()).map(|i| parameters.iter().any(|p| p.0 == i)).collect();
    Grad { node, dy: vec![Some(dy)], needs }
}

fn session(graph: &Graph) -> Box<dyn Session> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("case.onnx");
    onnx::write(&path, &emit::model(graph, Dialect::Functions).unwrap()).unwrap();
    engine(EngineChoice::Tract).load(&path).unwrap()
}

/// For each parameter: the sum of squares, and the squared norm of each sample.
type Sums = Vec<(Vec<f64>, Vec<f64>)>;

/// By the rule; with `twice`, as if two nodes of this kind read each parameter.
fn by_rule(case: &Case, x: &Tensor, dy: &Tensor, twice: bool) -> Sums {
    let (mut graph, _, parameters) = forward(case, ROWS);
    let cotangent = graph.input("dy", dy.ty());
    let samples = Samples { grad: grad(&graph, &parameters, cotangent), rows: ROWS, copies: COPIES };
    let mut b = Builder::new(&mut graph);
    let parts = table::find(case.op).unwrap().per_sample(&mut b, &samples).unwrap();
    let mut outputs = vec![];
    for &(i, value) in &parameters {
        let ty = b.ty(value).clone();
        let part = parts[i].clone().unwrap();
        let uses = if twice { vec![part.clone(), part] } else { vec![part] };
        let total = PerSample::total(&mut b, &uses, &ty, ROWS, COPIES).unwrap();
        let squares = total.squares(&mut b, &ty, ROWS, COPIES).unwrap();
        assert_eq!(b.ty(squares.sum), &ty, "{}", case.op);
        outputs.extend([squares.sum, squares.norms]);
    }
    graph.outputs = outputs;
    let found = session(&graph).run(&[("x", x), ("dy", dy)]).unwrap();
    found.chunks(2).map(|c| (c[0].to_f64().unwrap(), c[1].to_f64().unwrap())).collect()
}

/// Sample by sample, with the ordinary gradient.
fn by_samples(case: &Case, x: &Tensor, dy: &Tensor) -> Sums {
    let (mut graph, y, parameters) = forward(case, 1);
    let cotangent = graph.input("dy", graph.ty(y).clone());
    let g = grad(&graph, &parameters, cotangent);
    let found = table::find(case.op).unwrap().gradient(&mut Builder::new(&mut graph), &g).unwrap();
    graph.outputs = parameters.iter().map(|p| found[p.0].unwrap()).collect();
    let mut session = session(&graph);
    let mut sums: Sums = parameters.iter().map(|p| (vec![0.0; graph.ty(p.1).dims().unwrap().iter().product()], vec![])).collect();
    let part = |t: &Tensor, parts: usize, at: usize| {
        let values = t.to_f64().unwrap();
        let shape: Vec<usize> = std::iter::once(t.shape()[0] / parts).chain(t.shape()[1..].iter().copied()).collect();
        let size = values.len() / parts;
        Tensor::from_f64(&shape, &values[at * size..(at + 1) * size])
    };
    for n in 0..ROWS * COPIES {
        let feeds = [("x", &part(x, ROWS, n / COPIES)), ("dy", &part(dy, ROWS * COPIES, n))];
        for ((squares, norms), gradient) in sums.iter_mut().zip(session.run(&feeds).unwrap()) {
            let gradient = gradient.to_f64().unwrap();
            squares.iter_mut().zip(&gradient).for_each(|(s, g)| *s += g * g);
            norms.push(gradient.iter().map(|g| g * g).sum());
        }
    }
    sums
}

#[test]
fn each_sample_has_its_own_gradient() {
    for (number, case) in cases().iter().enumerate() {
        let (graph, y, _) = forward(case, ROWS);
        let mut shape = graph.ty(y).dims().unwrap();
        shape[0] *= COPIES;
        let random = |seed: u64, shape: &[usize]| Tensor::from_f64(shape, &numbers(seed, shape.iter().product()));
        let x = random(5, &graph.ty(graph.inputs[0]).dims().unwrap());
        let dy = random(6, &shape);
        let expected = by_samples(case, &x, &dy);
        for (twice, factor) in [(false, 1.0), (true, 4.0)] {
            let found = by_rule(case, &x, &dy, twice);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                for (found, expected) in [(&found.0, &expected.0), (&found.1, &expected.1)] {
                    assert_eq!(found.len(), expected.len());
                    let close = found.iter().zip(expected).all(|(f, e)| (f - factor * e).abs() <= 1e-10 * factor * e.abs());
                    assert!(close, "case {number}, {} (twice: {twice}): {found:?}, not {factor} times {expected:?}", case.op);
                }
            }
        }
    }
}

/// Whatever has a rule has a case.
#[test]
fn every_rule_has_a_case() {
    let covered: BTreeSet<&str> = cases().iter().map(|c| c.op).collect();
    let has_rule = |op: &dyn Operator| {
        let node = Node::new("n", op.op_type(), vec![], Attrs::new());
        let samples = Samples { grad: Grad { node, dy: vec![None], needs: vec![] }, rows: 1, copies: 1 };
        // Without inputs every rule fails, but only a missing one says that it is missing.
        !matches!(op.per_sample(&mut Builder::new(&mut Graph::new("g")), &samples), Err(e) if e.contains("has no rule"))
    };
    let expected: BTreeSet<&str> = table::OPERATORS.iter().filter(|o| has_rule(**o)).map(|o| o.op_type()).collect();
    assert!(expected.len() >= 6);
    assert_eq!(covered, expected);
}
