//! Where there is no slope: at kinks and ties the gradient is what PyTorch's backward pass gives there (2.15; the expressions
//! above the values reproduce them).

use super::cases::{Case, on, scalar};
use super::shared::engine;
use super::{emitted, load};
use spgraph::engine::EngineChoice;
use spgraph::ir::{DType, Tensor};

/// Compares on both engines.
fn check(case: Case, points: &[(&[usize], &[f64])], expected: &[&[f64]]) {
    for (choice, results) in gradients(&case, points) {
        for (i, (gradient, expected)) in results.iter().zip(expected).enumerate() {
            let same = gradient.len() == expected.len() && gradient.iter().zip(*expected).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(same, "{} on {choice:?}, input {i}: {gradient:?}, PyTorch gives {expected:?}", case.label());
        }
    }
}

/// The gradients of the sum of the outputs at `points`, one list per differentiable input, by engine.
fn gradients(case: &Case, points: &[(&[usize], &[f64])]) -> Vec<(EngineChoice, Vec<Vec<f64>>)> {
    let engines = [(EngineChoice::Tract, if case.double { DType::F64 } else { DType::F32 }), (EngineChoice::Ort, DType::F32)];
    let run = |(choice, dtype): (EngineChoice, DType)| {
        let values: Vec<Tensor> = points.iter().map(|(shape, v)| Tensor::from_floats(dtype, shape, v)).collect();
        let wanted: Vec<usize> = (0..values.len()).collect();
        let emitted = emitted(case, &values, &wanted, false).unwrap();
        let mut session = load(&*engine(choice), &emitted).unwrap();
        let ones: Vec<Tensor> =
            emitted.seeds.iter().map(|(_, dtype, shape)| Tensor::from_floats(*dtype, shape, &vec![1.0; shape.iter().product()])).collect();
        let feeds = emitted.inputs.iter().zip(&values).chain(emitted.seeds.iter().map(|s| &s.0).zip(&ones));
        let feeds: Vec<(&str, &Tensor)> = feeds.map(|(n, t)| (n.as_str(), t)).collect();
        let results = session.run(&feeds).unwrap();
        (choice, results[emitted.outputs..].iter().map(|t| t.to_f64().unwrap()).collect())
    };
    engines.into_iter().map(run).collect()
}

/// Of a function of one value.
fn element_wise(case: Case, x: &[f64], expected: &[f64]) {
    check(case, &[(&[1, x.len()], x)], &[expected]);
}

#[test]
fn element_wise_kinks() {
    let x = &[1, 6];
    let at = &[-3.0, -1.0, 0.0, 1.0, 3.0, 6.0];
    // F.relu
    element_wise(on("Relu", x), at, &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    // F.leaky_relu(x, 0.1)
    element_wise(on("LeakyRelu", x).float("alpha", 0.1), at, &[0.1, 0.1, 0.1, 1.0, 1.0, 1.0]);
    // x.clamp(-1, 3)
    element_wise(on("Clip", x).fixed(scalar(-1.0)).fixed(scalar(3.0)), at, &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    // F.relu6
    element_wise(on("Clip", x).fixed(scalar(0.0)).fixed(scalar(6.0)), at, &[0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
    // F.hardsigmoid
    let sixth = 1.0 / 6.0;
    let hard_sigmoid = on("HardSigmoid", x).float("alpha", sixth as f32).float("beta", 0.5);
    element_wise(hard_sigmoid, at, &[0.0, sixth, sixth, sixth, 0.0, 0.0]);
    // F.elu(x, 0.5), F.celu(x, 0.5), F.threshold(x, 1, 0), F.hardshrink(x, 1), F.prelu(x, torch.tensor([0.3]))
    let [e3, e1] = [(-3.0f64).exp(), (-1.0f64).exp()];
    element_wise(on("Elu", x).float("alpha", 0.5), at, &[0.5 * e3, 0.5 * e1, 0.5, 1.0, 1.0, 1.0]);
    element_wise(on("Celu", x).float("alpha", 0.5).single(), at, &[e3 * e3, e1 * e1, 1.0, 1.0, 1.0, 1.0]);
    element_wise(on("ThresholdedRelu", x), at, &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    element_wise(on("Shrink", x).float("lambd", 1.0), at, &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    element_wise(on("PRelu", x).fixed(Tensor::from_f64(&[1], &[0.3])), at, &[0.3, 0.3, 0.3, 1.0, 1.0, 1.0]);
    // F.selu
    let (gamma, alpha) = (1.0507009873554805, 1.6732632423543772);
    let low = gamma * alpha;
    element_wise(on("Selu", x), at, &[low * e3, low * e1, low, gamma, gamma, gamma]);
    // F.hardswish
    element_wise(on("HardSwish", x), at, &[0.0, sixth, 0.5, 5.0 * sixth, 1.0, 1.0]);
}

/// (x ** e).sum().backward()
#[test]
fn powers_at_zero() {
    let x = &[1, 3];
    let at = &[-1.0, 0.0, 2.0];
    element_wise(on("Pow", x).fixed(scalar(1.0)), at, &[1.0, 1.0, 1.0]);
    element_wise(on("Pow", x).fixed(scalar(2.0)), at, &[-2.0, 0.0, 4.0]);
    element_wise(on("Pow", x).fixed(scalar(3.0)), at, &[3.0, 0.0, 12.0]);
    // PyTorch gives zeros, where 0·0⁻¹ would be no number; here nothing is computed for what is zero everywhere.
    let constant = on("Pow", x).fixed(scalar(0.0));
    let values = [Tensor::from_f64(x, at)];
    assert_eq!(emitted(&constant, &values, &[0], false).unwrap().found, [false]);
}

/// PyTorch's relu has the slope 1 at every positive number. Ours is a ramp up to 3.4e-39, which only subnormal numbers of float32 are below.
#[test]
fn the_step_of_a_rectifier_is_exact_for_normal_numbers() {
    let x = [f32::MIN_POSITIVE as f64, 4e-39, 0.0, -f32::MIN_POSITIVE as f64];
    element_wise(on("Relu", &[1, 4]), &x, &[1.0, 1.0, 0.0, 0.0]);
    for (choice, results) in gradients(&on("Relu", &[1, 1]), &[(&[1, 1], &[1e-39])]) {
        // A runtime may take it for 0.
        let slope = results[0][0];
        assert!(slope == 0.0 || (slope - 0.3).abs() < 1e-3, "{choice:?}: {slope}");
    }
}

/// torch.maximum(a, b).sum().backward(), and minimum.
#[test]
fn equal_operands_share() {
    let (a, b): (&[f64], &[f64]) = (&[1.0, 2.0, 3.0], &[2.0, 2.0, 2.0]);
    let points: [(&[usize], &[f64]); 2] = [(&[1, 3], a), (&[1, 3], b)];
    check(on("Max", &[1, 3]).and(&[1, 3]), &points, &[&[0.0, 0.5, 1.0], &[1.0, 0.5, 0.0]]);
    check(on("Min", &[1, 3]).and(&[1, 3]), &points, &[&[1.0, 0.5, 0.0], &[0.0, 0.5, 1.0]]);
}

/// (x ** e).sum().backward() with both gradients.
#[test]
fn powers_of_zero() {
    let points: [(&[usize], &[f64]); 2] = [(&[1, 4], &[0.0, 0.0, 0.0, 2.0]), (&[1, 4], &[0.0, 1.0, 2.0, 0.0])];
    check(on("Pow", &[1, 4]).and(&[1, 4]), &points, &[&[0.0, 1.0, 0.0, 0.0], &[0.0, 0.0, 0.0, 2.0f64.ln()]]);
}

/// x.prod(1), x.norm(dim=1), x.abs().sum(1), x.amin(1) of what holds zeros and equal elements.
#[test]
fn reductions_of_zeros() {
    let x: &[f64] = &[2.0, 0.0, 3.0, 0.0, 0.0, 5.0, 1.0, 1.0, 4.0];
    let over = |op| on(op, &[3, 3]).ints("axes", &[1]);
    let points: [(&[usize], &[f64]); 1] = [(&[3, 3], x)];
    check(over("ReduceProd"), &points, &[&[0.0, 6.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 1.0]]);
    check(over("ReduceL1"), &points, &[&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]]);
    check(over("ReduceMin"), &points, &[&[0.0, 1.0, 0.0, 0.5, 0.5, 0.0, 0.5, 0.5, 0.0]]);
    let zeros: [(&[usize], &[f64]); 1] = [(&[2, 2], &[0.0, 0.0, 3.0, -4.0])];
    check(on("ReduceL2", &[2, 2]).ints("axes", &[1]), &zeros, &[&[0.0, 0.0, 0.6, -0.8]]);
}

/// torch.logsumexp(x, 1)
#[test]
fn logarithms_of_large_sums_are_finite() {
    let points: [(&[usize], &[f64]); 1] = [(&[2, 2], &[1000.0, 1000.0, -1000.0, -2000.0])];
    check(on("ReduceLogSumExp", &[2, 2]).ints("axes", &[1]), &points, &[&[0.5, 0.5, 1.0, 0.0]]);
}

#[test]
fn ties() {
    // F.max_pool2d(x, 2, 1): the first takes all.
    let image: &[f64] = &[1.0, 1.0, 0.0, 1.0, 1.0, 2.0, 2.0, 0.0, 2.0];
    let pool = on("MaxPool", &[1, 1, 3, 3]).ints("kernel_shape", &[2, 2]).ints("strides", &[1, 1]);
    check(pool, &[(&[1, 1, 3, 3], image)], &[&[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]]);
    // F.max_pool2d(x, 3, 2, 1): what lies outside takes nothing, from zeros and negative numbers either.
    let pool = || on("MaxPool", &[1, 1, 4, 4]).ints("kernel_shape", &[3, 3]).ints("strides", &[2, 2]).ints("pads", &[1, 1, 1, 1]);
    let first = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    check(pool(), &[(&[1, 1, 4, 4], &[0.0; 16])], &[&first]);
    let image = [-2.0, -1.0, -2.0, -1.0, -3.0, -1.0, -1.0, -3.0, -1.0, -2.0, -1.0, -1.0, -4.0, -5.0, -1.0, -1.0];
    check(pool(), &[(&[1, 1, 4, 4], &image)], &[&[0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]);
}

/// Which element takes it differs between runtimes; PyTorch's is the first.
#[test]
fn a_window_of_nothing_but_infinity_hands_its_gradient_on() {
    let none = f64::NEG_INFINITY;
    let pool = on("MaxPool", &[1, 1, 2, 4]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]);
    let image = [none, none, none, 1.0, none, none, 2.0, none];
    for (choice, results) in gradients(&pool, &[(&[1, 1, 2, 4], &image)]) {
        let [a, b, c, d, e, f, g, h] = results[0][..] else { panic!("{results:?}") };
        assert_eq!((a + b + e + f, [c, d, g, h]), (1.0, [0.0, 0.0, 1.0, 0.0]), "{choice:?}: {results:?}");
    }
}
