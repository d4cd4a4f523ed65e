//! Expressions against their definitions.

use super::super::cases::cores;
use super::*;

fn step(operation: Operation, operands: &[Source]) -> Step {
    let at = |i: usize| operands.get(i).or(operands.first()).copied().unwrap_or(Source::Input(0));
    Step { operation, operands: [at(0), at(1), at(2)] }
}

fn run(isa: Isa, e: &Expression, size: (usize, usize), inputs: &[Operand], total: usize) -> Vec<Vec<f32>> {
    let mut outputs = vec![vec![f32::NAN; total]; e.outputs.len()];
    e.compute(&cores(2, isa), size, inputs, outputs.iter_mut().map(Vec::as_mut_slice).collect());
    outputs
}

/// From −100 to 100, the ends of what floats have, and what is no number.
fn samples() -> Vec<f32> {
    let mut all: Vec<f32> = (0..20_001).map(|i| (i as f32 - 10_000.0) * 0.01).collect();
    // Between −5 and 5 in steps that no table has, and towards 0.
    all.extend((0..20_001).map(|i| (i as f32 - 10_000.0) * 0.000_503_71));
    all.extend((0..200).flat_map(|i| [0.83f32.powi(i), -(0.83f32.powi(i))]));
    all.extend([0.0, -0.0, 1e-30, -1e-30, 88.7, 88.8, -87.3, -87.4, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    all
}

/// A unit in the last place, relative to a number whose mantissa is smallest.
const ULP: f64 = f32::EPSILON as f64;

/// The error function in double precision: its series near 0, and the continued fraction of its complement further out.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 3.0 {
        let (mut term, mut sum) = (x, x);
        for k in 1..80 {
            term *= -x * x / f64::from(k);
            sum += term / f64::from(2 * k + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if size > 6.0 || x.is_nan() {
        return if x.is_nan() { x } else { x.signum() };
    }
    let rest = (1..60).rev().fold(size, |below, k| size + f64::from(k) / 2.0 / below);
    (1.0 - (-size * size).exp() / rest / std::f64::consts::PI.sqrt()).copysign(x)
}

/// The definition in double precision, and how far from it a result may be, relative to it.
fn defined(operation: Operation, x: f64, y: f64, z: f64) -> (f64, f64) {
    let truth = |is: bool| (f64::from(u8::from(is)), 0.0);
    let bounded = |v: f64, low: f64, high: f64| if v.is_nan() { v } else { v.max(low).min(high) };
    match operation {
        Operation::Same => (x, 0.0),
        Operation::Add => (x + y, 6e-8),
        Operation::Sub => (x - y, 6e-8),
        Operation::Mul => (x * y, 6e-8),
        Operation::Div => (x / y, 6e-8),
        Operation::Max => (if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }, 0.0),
        Operation::Min => (if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }, 0.0),
        Operation::Neg => (-x, 0.0),
        Operation::Abs => (x.abs(), 0.0),
        Operation::Sqrt => (x.sqrt(), 6e-8),
        Operation::Reciprocal => (1.0 / x, 6e-8),
        Operation::Exp => (x.exp(), 1.8e-7),
        Operation::Relu => (if x < 0.0 { 0.0 } else { x }, 0.0),
        Operation::LeakyRelu => (if x < 0.0 { x * y } else { x }, 6e-8),
        Operation::Clip => (bounded(x, y, z), 0.0),
        Operation::Sigmoid => (1.0 / (1.0 + (-x).exp()), 3e-7),
        Operation::HardSigmoid => (bounded(x * y + z, 0.0, 1.0), 2e-7),
        Operation::HardSwish => (x * bounded(x / 6.0 + 0.5, 0.0, 1.0), 2e-7),
        Operation::Greater => truth(x > y),
        Operation::Less => truth(x < y),
        Operation::GreaterOrEqual => truth(x >= y),
        Operation::LessOrEqual => truth(x <= y),
        Operation::And => truth(x != 0.0 && y != 0.0),
        Operation::Or => truth(x != 0.0 || y != 0.0),
        Operation::Not => truth(x == 0.0),
        Operation::Where => (if x != 0.0 { y } else { z }, 0.0),
        Operation::Erf => (erf(x), 2.0 * ULP),
        Operation::Tanh => (x.tanh(), 3.0 * ULP),
        Operation::Softplus => (if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }, 3.0 * ULP),
        Operation::Softsign => (x / (1.0 + x.abs()), ULP),
        Operation::Log => (x.ln(), 2.0 * ULP),
        Operation::Elu => (if x > 0.0 { x } else { y * x.exp_m1() }, 3.0 * ULP),
        Operation::Selu => (z * if x > 0.0 { x } else { y * x.exp_m1() }, 3.0 * ULP),
        Operation::Threshold => (if x <= y { 0.0 } else { x }, 0.0),
        Operation::Shrink => (
            if x > z {
                x - y
            } else if x < -z {
                x + y
            } else {
                x * 0.0
            },
            6e-8,
        ),
        Operation::Power => (if y == 2.0 { x * x } else { x * x * x }, ULP),
        Operation::Equal => truth(x == y),
    }
}

#[test]
fn every_operation_is_its_definition_with_any_instructions() {
    let inside = [Source::Input(0), Source::Input(1), Source::Input(2)];
    for operation in Operation::ALL {
        let logical = matches!(operation, Operation::And | Operation::Or | Operation::Not);
        let x: Vec<f32> = samples().into_iter().map(|v| if logical { truth(v > 0.0) } else { v }).collect();
        let (y, z): (Vec<f32>, Vec<f32>) = match operation {
            Operation::Clip => (vec![-1.5; x.len()], vec![6.0; x.len()]),
            Operation::HardSigmoid => (vec![0.2; x.len()], vec![0.5; x.len()]),
            Operation::Elu | Operation::Selu => (vec![1.6732632; x.len()], vec![1.050701; x.len()]),
            Operation::Threshold => (vec![0.5; x.len()], vec![0.0; x.len()]),
            Operation::Shrink => (vec![0.25; x.len()], vec![0.5; x.len()]),
            Operation::Power => (x.iter().enumerate().map(|(i, _)| [2.0, 3.0][i % 2]).collect(), vec![0.0; x.len()]),
            _ => (x.iter().rev().copied().collect(), x.iter().map(|v| v * 0.5).collect()),
        };
        let e = Expression::new(vec![], vec![step(operation, &inside)], vec![0], 3).unwrap();
        let inputs = [Operand::Whole(&x), Operand::Whole(&y), Operand::Whole(&z)];
        let first = run(Isa::Portable, &e, (x.len(), 1), &inputs, x.len()).remove(0);
        for isa in Isa::available() {
            let other = run(isa, &e, (x.len(), 1), &inputs, x.len()).remove(0);
            let same = first.iter().zip(&other).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
            assert!(same, "{operation:?} has other bits with {}", isa.name());
        }
        for i in 0..x.len() {
            let (right, bound) = defined(operation, x[i].into(), y[i].into(), z[i].into());
            let (found, tiny) = (f64::from(first[i]), f64::from(f32::MIN_POSITIVE));
            let overflows = right.abs() > f64::from(f32::MAX) && found.is_infinite() && found.signum() == right.signum();
            // Products and sums that cancel have the rounding of what they were made of.
            let scale = match operation {
                Operation::HardSigmoid | Operation::HardSwish => right.abs().max(1.0),
                _ => right.abs(),
            };
            let near = (found - right).abs() <= bound * scale + tiny || found == right;
            assert!(
                near || overflows || found.is_nan() && right.is_nan(),
                "{operation:?}({}, {}, {}): {found} for {right}",
                x[i],
                y[i],
                z[i]
            );
        }
    }
}

/// `(a + gate)·2`, and `a + gate` itself, over images whose size fills no block, on a channel row for each and for all.
#[test]
fn numbers_and_channels_go_along() {
    for (images, pixels, channels) in [(3, 7, 5), (2, 300, 3), (1, 1, 1), (2, 9, 512), (2, 3000, 7)] {
        let size = pixels * channels;
        let a: Vec<f32> = (0..images * size).map(|i| (i % 97) as f32 * 0.25 - 7.0).collect();
        for rows in [1, images] {
            let gate: Vec<f32> = (0..rows * channels).map(|i| i as f32 * 0.5).collect();
            let steps = vec![
                step(Operation::Add, &[Source::Input(0), Source::Input(1)]),
                step(Operation::Mul, &[Source::Step(0), Source::Constant(0)]),
                step(Operation::Mul, &[Source::Step(1), Source::Input(2)]),
            ];
            let e = Expression::new(vec![2.0], steps, vec![2, 0], 3).unwrap();
            let inputs = [Operand::Whole(&a), Operand::Channels(&gate), Operand::Number(0.5)];
            for isa in Isa::available() {
                let found = run(isa, &e, (size, channels), &inputs, images * size);
                for (i, v) in a.iter().enumerate() {
                    let row = if rows == 1 { 0 } else { i / size };
                    let right = v + gate[row * channels + i % channels];
                    assert_eq!((found[0][i], found[1][i]), (right, right), "{images} {pixels} {channels}");
                }
            }
        }
    }
}

#[test]
fn a_register_is_not_used_again_while_it_is_read() {
    // x, 2x, 3x, …: every step reads the one before and the input; the sum of all reads them at the end.
    let mut steps = vec![step(Operation::Same, &[Source::Input(0)])];
    for i in 1..10 {
        steps.push(step(Operation::Add, &[Source::Step(i - 1), Source::Input(0)]));
    }
    for i in 1..10 {
        let before = if i == 1 { Source::Step(0) } else { Source::Step(8 + i) };
        steps.push(step(Operation::Add, &[before, Source::Step(i)]));
    }
    let last = steps.len() - 1;
    let e = Expression::new(vec![], steps, vec![last], 1).unwrap();
    assert_eq!(run(Isa::Portable, &e, (3, 1), &[Operand::Whole(&[1.0, 2.0, -1.0])], 3)[0], [55.0, 110.0, -55.0]);
    assert!(e.width <= 11);
}

#[test]
fn what_holds_no_water_is_refused() {
    for source in [Source::Step(0), Source::Input(1), Source::Constant(1)] {
        assert!(Expression::new(vec![0.5], vec![step(Operation::Same, &[source])], vec![0], 1).is_err(), "{source:?}");
    }
    assert!(Expression::new(vec![], vec![step(Operation::Same, &[Source::Input(0)])], vec![1], 1).is_err());
    assert!(Expression::new(vec![], vec![], vec![], 1).is_err());
}
