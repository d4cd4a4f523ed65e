//! Values, gradients and proximal steps against direct computation in float64 from the paper's formulas.

use super::shared::{Random, engine};
use spgraph::emit::{self, Dialect};
use spgraph::engine::{Engine, EngineChoice};

use spgraph::ir::{DType, Graph, Tensor, TensorType, ValueId};
use spgraph::onnx;
use spgraph::operator::Builder;
use spgraph::penalty::{self, Groups, Penalty, Pretrained};

/// One parameter with its start, its Fisher information and its groups.
struct Case {
    shape: Vec<usize>,
    /// Written down by hand: for each element the number of its group.
    group_of: Vec<usize>,
    groups: Groups,
    w: Vec<f64>,
    start: Vec<f64>,
    fisher: Vec<f64>,
    strength: f64,
}

impl Case {
    fn new(shape: &[usize], groups: Groups, group_of: impl Fn(&[usize]) -> usize, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let count: usize = shape.iter().product();
        let index = |mut i: usize| {
            let mut at = vec![0; shape.len()];
            for axis in (0..shape.len()).rev() {
                at[axis] = i % shape[axis];
                i /= shape[axis];
            }
            at
        };
        let start = random.list(count, -1.0, 1.0);
        let moved = random.list(count, -0.5, 0.5);
        Case {
            shape: shape.to_vec(),
            group_of: (0..count).map(|i| group_of(&index(i))).collect(),
            groups,
            w: start.iter().zip(moved).map(|(a, b)| a + b).collect(),
            start,
            fisher: random.list(count, 0.0, 2.0),
            strength: random.between(0.1, 3.0),
        }
    }

    fn group_count(&self) -> usize {
        self.group_of.iter().max().unwrap() + 1
    }

    /// s_g = √p_g, from the number of elements in the first group.
    fn weight(&self) -> f64 {
        (self.group_of.iter().filter(|&&g| g == 0).count() as f64).sqrt()
    }

    fn moved(&self) -> Vec<f64> {
        self.w.iter().zip(&self.start).map(|(a, b)| a - b).collect()
    }

    /// For each group `Σ d²·f`.
    fn squares(&self, d: &[f64], f: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.group_count()];
        for ((&g, d), f) in self.group_of.iter().zip(d).zip(f) {
            sums[g] += d * d * f;
        }
        sums
    }

    /// The paper's Ω and its gradient.
    fn expected(&self, kind: &str) -> (f64, Vec<f64>) {
        let (a, d, ones) = (self.strength, self.moved(), vec![1.0; self.w.len()]);
        let f = if kind.ends_with("-fisher") { &self.fisher } else { &ones };
        let sum = |values: &[f64], f: &[f64]| values.iter().zip(f).map(|(v, f)| f * v * v).sum::<f64>();
        let scaled = |values: &[f64], f: &[f64]| values.iter().zip(f).map(|(v, f)| a * f * v).collect::<Vec<_>>();
        match kind {
            "l2" => (a / 2.0 * sum(&self.w, f), scaled(&self.w, f)),
            "l2-sp" | "l2-sp-fisher" => (a / 2.0 * sum(&d, f), scaled(&d, f)),
            "l1-sp" => {
                let sign = |v: &f64| {
                    if *v > 0.0 {
                        a
                    } else if *v < 0.0 {
                        -a
                    } else {
                        0.0
                    }
                };
                (a * d.iter().map(|v| v.abs()).sum::<f64>(), d.iter().map(sign).collect())
            }
            "gl-sp" | "gl-sp-fisher" => {
                let norms: Vec<f64> = self.squares(&d, f).into_iter().map(f64::sqrt).collect();
                let weight = self.weight();
                let slope = |(i, v): (usize, &f64)| {
                    // The authors' 1e-16 inside the root.
                    a * weight * f[i] * v / (norms[self.group_of[i]].powi(2) + 1e-16).sqrt()
                };
                (a * weight * norms.iter().sum::<f64>(), d.iter().enumerate().map(slope).collect())
            }
            other => panic!("no formula for {other}"),
        }
    }

    /// Runs what `build` makes of the parameter; all outputs as float64.
    fn run(
        &self,
        dtype: DType,
        dialect: Dialect,
        engine: &dyn Engine,
        build: impl Fn(&mut Builder, &Pretrained) -> Vec<ValueId>,
    ) -> Vec<Vec<f64>> {
        let mut graph = Graph::new("case");
        let tensor = |v: &[f64]| Tensor::from_floats(dtype, &self.shape, v);
        let w = graph.input("w", TensorType::new(dtype, self.shape.iter().copied()));
        let strength = graph.input("alpha", TensorType::new(dtype, vec![1usize; self.shape.len()]));
        let start = Some(graph.constant("w0", tensor(&self.start)));
        let fisher = Some(graph.constant("fisher", tensor(&self.fisher)));
        let mut b = Builder::new(&mut graph);
        b.scope("penalty");
        let outputs = build(&mut b, &Pretrained { w, start, fisher, groups: &self.groups, strength });
        graph.outputs = outputs;
        let file = tempfile::NamedTempFile::with_suffix(".onnx").unwrap();
        onnx::write(file.path(), &emit::model(&graph, dialect).unwrap()).unwrap();
        let mut session = engine.load(file.path()).unwrap();
        let strength = Tensor::from_floats(dtype, &vec![1; self.shape.len()], &[self.strength]);
        let results = session.run(&[("w", &tensor(&self.w)), ("alpha", &strength)]).unwrap();
        results.iter().map(|t| t.to_f64().unwrap()).collect()
    }

    fn term(&self, penalty: &dyn Penalty, dtype: DType, dialect: Dialect, engine: &dyn Engine) -> (f64, Vec<f64>) {
        let mut found = self.run(dtype, dialect, engine, |b, p| {
            let term = penalty.shared(b, p).unwrap();
            vec![term.value, term.gradient]
        });
        let gradient = found.pop().unwrap();
        (found.pop().unwrap()[0], gradient)
    }
}

fn find(kind: &str) -> &'static dyn Penalty {
    penalty::find(kind).unwrap()
}

/// Kernels of Conv, Gemm with transB 1 and 0, ConvTranspose in one block and in two, and a bias.
fn cases() -> Vec<Case> {
    vec![
        Case::new(&[4, 3, 2, 2], Groups::channels(&[4, 3, 2, 2], 0, 1), |i| i[0], 1),
        Case::new(&[3, 5], Groups::channels(&[3, 5], 0, 1), |i| i[0], 2),
        Case::new(&[5, 3], Groups::channels(&[5, 3], 1, 1), |i| i[1], 3),
        Case::new(&[4, 3, 2, 1], Groups::channels(&[4, 3, 2, 1], 1, 1), |i| i[1], 4),
        // Inputs 0 and 1 feed outputs 0 to 2, inputs 2 and 3 outputs 3 to 5.
        Case::new(&[4, 3, 2, 1], Groups::channels(&[4, 3, 2, 1], 1, 2), |i| i[0] / 2 * 3 + i[1], 5),
        Case::new(&[6], Groups::elements(&[6]), |i| i[0], 6),
    ]
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let difference = found.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
    let norm = expected.iter().map(|b| b * b).sum::<f64>().sqrt();
    assert!(difference <= tolerance * norm, "{what}: {found:?} instead of {expected:?}");
}

const KINDS: &[&str] = &["l2", "l2-sp", "l2-sp-fisher", "l1-sp", "gl-sp", "gl-sp-fisher"];

/// Those with a proximal step.
const PROXIMAL: &[&str] = &["l1-sp", "gl-sp"];

#[test]
fn every_penalty_is_tested() {
    assert_eq!(penalty::PENALTIES.iter().map(|p| p.kind()).collect::<Vec<_>>(), KINDS);
}

#[test]
fn every_proximal_step_is_tested() {
    let found: Vec<&str> = penalty::PENALTIES.iter().filter(|p| p.without_prox().is_none()).map(|p| p.kind()).collect();
    assert_eq!(found, PROXIMAL);
}

#[test]
fn value_and_gradient_are_the_formulas() {
    let tract = engine(EngineChoice::Tract);
    for &kind in KINDS {
        for case in cases() {
            let (value, gradient) = case.expected(kind);
            for dialect in [Dialect::Functions, Dialect::Inlined] {
                let (found, slope) = case.term(find(kind), DType::F64, dialect, tract.as_ref());
                let what = format!("{kind} {:?} {dialect:?}", case.shape);
                close(&[found], &[value], 1e-12, &what);
                close(&slope, &gradient, 1e-12, &what);
                let alone = case.run(DType::F64, dialect, tract.as_ref(), |b, p| vec![find(kind).value(b, p).unwrap()]).remove(0);
                close(&alone, &[value], 1e-12, &what);
            }
        }
    }
}

/// ONNX Runtime is found as `spgraph runtime` finds it.
#[test]
fn onnx_runtime_gives_the_same_in_float32() {
    let ort = engine(EngineChoice::Ort);
    for &kind in KINDS {
        for case in cases() {
            let (value, gradient) = case.expected(kind);
            let (found, slope) = case.term(find(kind), DType::F32, Dialect::Functions, ort.as_ref());
            let what = format!("{kind} {:?}", case.shape);
            close(&[found], &[value], 1e-5, &what);
            close(&slope, &gradient, 1e-5, &what);
        }
    }
}

#[test]
fn the_start_has_no_penalty_and_no_gradient() {
    for choice in [EngineChoice::Tract, EngineChoice::Ort] {
        let engine = engine(choice);
        for kind in &KINDS[1..] {
            for mut case in cases() {
                case.w = case.start.clone();
                let (value, gradient) = case.term(find(kind), DType::F32, Dialect::Functions, engine.as_ref());
                assert_eq!(value, 0.0, "{kind}");
                assert!(gradient.iter().all(|g| *g == 0.0), "{kind}: {gradient:?}");
            }
        }
    }
}

/// Channels that did not move have no gradient, whatever the others do.
#[test]
fn a_channel_at_its_start_has_no_gradient() {
    let tract = engine(EngineChoice::Tract);
    for kind in ["gl-sp", "gl-sp-fisher"] {
        let mut case = cases().swap_remove(0);
        for i in (0..case.w.len()).filter(|i| case.group_of[*i] == 2) {
            case.w[i] = case.start[i];
        }
        let (value, gradient) = case.expected(kind);
        let (found, slope) = case.term(find(kind), DType::F64, Dialect::Functions, tract.as_ref());
        close(&[found], &[value], 1e-12, kind);
        close(&slope, &gradient, 1e-12, kind);
        assert!(slope.iter().zip(&case.group_of).all(|(s, g)| (*g == 2) == (*s == 0.0)), "{kind}");
    }
}

#[test]
fn with_a_fisher_of_one_it_is_l2_sp_and_gl_sp() {
    let tract = engine(EngineChoice::Tract);
    for (with, without) in [("l2-sp-fisher", "l2-sp"), ("gl-sp-fisher", "gl-sp")] {
        for mut case in cases() {
            case.fisher = vec![1.0; case.w.len()];
            let a = case.term(find(with), DType::F64, Dialect::Functions, tract.as_ref());
            let b = case.term(find(without), DType::F64, Dialect::Functions, tract.as_ref());
            close(&[a.0], &[b.0], 1e-14, with);
            close(&a.1, &b.1, 1e-14, with);
        }
    }
}

/// s_g = √1 = 1 there.
#[test]
fn gl_sp_with_groups_of_one_element_is_l1_sp() {
    let tract = engine(EngineChoice::Tract);
    for mut case in cases() {
        case.groups = Groups::elements(&case.shape);
        let scale = case.groups.weight();
        let gl = case.term(find("gl-sp"), DType::F64, Dialect::Functions, tract.as_ref());
        let l1 = case.term(find("l1-sp"), DType::F64, Dialect::Functions, tract.as_ref());
        close(&[gl.0], &[l1.0 * scale], 1e-12, "value");
        // Up to the 1e-16 inside the root.
        close(&gl.1, &l1.1.iter().map(|g| g * scale).collect::<Vec<_>>(), 1e-9, "gradient");
    }
}

fn prox(case: &Case, kind: &str, dtype: DType, engine: &dyn Engine) -> Vec<f64> {
    case.run(dtype, Dialect::Functions, engine, |b, p| vec![find(kind).prox(b, p).unwrap()]).remove(0)
}

/// `argmin_x ½‖x − w‖² + Ω(x)`, known in closed form for one element or group: the soft-threshold.
fn threshold(case: &Case, kind: &str) -> Vec<f64> {
    let d = case.moved();
    let ones = vec![1.0; d.len()];
    let norms: Vec<f64> = case.squares(&d, &ones).into_iter().map(f64::sqrt).collect();
    let keep = |i: usize| match kind {
        "l1-sp" => (1.0 - case.strength / d[i].abs()).max(0.0),
        _ => (1.0 - case.strength * case.weight() / norms[case.group_of[i]]).max(0.0),
    };
    (0..d.len()).map(|i| case.start[i] + d[i] * keep(i)).collect()
}

#[test]
fn the_proximal_step_is_its_definition() {
    let (tract, mut random) = (engine(EngineChoice::Tract), Random::new(77));
    for &kind in PROXIMAL {
        let (mut stayed, mut returned) = (0, 0);
        for mut case in cases() {
            // A threshold that some of the groups pass and others don't.
            case.strength = if kind == "l1-sp" { 0.2 } else { 0.28 };
            let found = prox(&case, kind, DType::F64, tract.as_ref());
            close(&found, &threshold(&case, kind), 1e-14, kind);
            returned += found.iter().zip(&case.start).filter(|(a, b)| a == b).count();
            stayed += found.iter().zip(&case.start).filter(|(a, b)| a != b).count();
            // No other point is better.
            let objective = |x: &[f64]| {
                let near: f64 = x.iter().zip(&case.w).map(|(a, b)| (a - b) * (a - b) / 2.0).sum();
                let there = Case { w: x.to_vec(), groups: case.groups.clone(), ..case_like(&case) };
                near + there.expected(kind).0
            };
            let best = objective(&found);
            for size in [1e-1, 1e-3, 1e-5] {
                let other: Vec<f64> = found.iter().map(|x| x + random.between(-size, size)).collect();
                assert!(objective(&other) >= best, "{kind}: a point at {size} is better");
            }
        }
        assert!(stayed > 5 && returned > 5, "{kind}: {stayed} moved, {returned} at the start: the test shows nothing");
    }
}

fn case_like(case: &Case) -> Case {
    Case {
        shape: case.shape.clone(),
        group_of: case.group_of.clone(),
        groups: case.groups.clone(),
        w: case.w.clone(),
        start: case.start.clone(),
        fisher: case.fisher.clone(),
        strength: case.strength,
    }
}

#[test]
fn the_proximal_step_returns_exactly_and_keeps_what_has_no_strength() {
    for choice in [EngineChoice::Tract, EngineChoice::Ort] {
        let engine = engine(choice);
        for &kind in PROXIMAL {
            for mut case in cases() {
                let round = |v: &[f64]| v.iter().map(|x| *x as f32 as f64).collect::<Vec<_>>();
                case.strength = 10.0;
                assert_eq!(prox(&case, kind, DType::F32, engine.as_ref()), round(&case.start), "{kind}");
                case.strength = 0.0;
                // w⁰ + (w − w⁰), rounded.
                close(&prox(&case, kind, DType::F32, engine.as_ref()), &round(&case.w), 1e-7, kind);
                case.w = case.start.clone();
                assert_eq!(prox(&case, kind, DType::F32, engine.as_ref()), round(&case.start), "{kind} at the start, no threshold");
            }
        }
    }
}

/// Of tensors with millions of elements; values are chosen so that float32 holds them exactly.
#[test]
fn values_of_large_tensors_keep_their_digits() {
    let shapes: [(&[usize], usize); 3] = [(&[1500, 1400], 0), (&[2_000_003], 0), (&[512, 448, 3, 3], 0)];
    for choice in [EngineChoice::Ort, EngineChoice::Tract] {
        let engine = engine(choice);
        for (shape, axis) in shapes {
            let groups = if shape.len() == 1 { Groups::elements(shape) } else { Groups::channels(shape, axis, 1) };
            let mut case = Case::new(shape, groups, |_| 0, 9);
            let single = |list: &mut Vec<f64>| list.iter_mut().for_each(|v| *v = f64::from(*v as f32));
            single(&mut case.start);
            single(&mut case.w);
            single(&mut case.fisher);
            let d: Vec<f64> = case.w.iter().zip(&case.start).map(|(w, s)| f64::from(*w as f32 - *s as f32)).collect();
            for kind in ["l2", "l2-sp", "l2-sp-fisher", "l1-sp"] {
                let a = f64::from(case.strength as f32);
                let expected = match kind {
                    "l2" => a / 2.0 * case.w.iter().map(|v| v * v).sum::<f64>(),
                    "l2-sp" => a / 2.0 * d.iter().map(|v| v * v).sum::<f64>(),
                    "l2-sp-fisher" => a / 2.0 * d.iter().zip(&case.fisher).map(|(v, f)| f * v * v).sum::<f64>(),
                    _ => a * d.iter().map(|v| v.abs()).sum::<f64>(),
                };
                let found =
                    case.run(DType::F32, Dialect::Functions, engine.as_ref(), |b, p| vec![find(kind).value(b, p).unwrap()]).remove(0);
                let error = (found[0] - expected).abs() / expected;
                assert!(error < 1e-6, "{kind} of {shape:?} with {choice:?}: {} instead of {expected}, {error:.1e}", found[0]);
            }
        }
    }
}
