//! Sources as C for the processor, beside the operations' meaning in double precision.
use super::super::host::{self, Compiled};
use super::*;
use std::ffi::c_void;

fn compile(expression: &Expression, form: &Form) -> Compiled {
    let kernels: &[&str] = if expression.sums > 0 { &["expression", "finish"] } else { &["expression"] };
    host::compile(&expression.source(form), kernels, form.long)
}

/// The operation in double precision; `None` where float32 alone decides.
fn meaning(operation: Operation, [a, b, c]: [f64; 3]) -> f64 {
    let truth = |is: bool| if is { 1.0 } else { 0.0 };
    match operation {
        Operation::Same => a,
        Operation::Add => a + b,
        Operation::Sub => a - b,
        Operation::Mul => a * b,
        Operation::And => truth(a != 0.0 && b != 0.0),
        Operation::Div => a / b,
        Operation::Max => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.max(b)
            }
        }
        Operation::Min => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                a.min(b)
            }
        }
        Operation::Neg => -a,
        Operation::Abs => a.abs(),
        Operation::Sqrt => a.sqrt(),
        Operation::Reciprocal => 1.0 / a,
        Operation::Exp => a.exp(),
        Operation::Relu => {
            if a.is_nan() {
                a
            } else {
                a.max(0.0)
            }
        }
        Operation::LeakyRelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
        Operation::Clip => {
            if a.is_nan() {
                a
            } else {
                a.max(b).min(c)
            }
        }
        Operation::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        Operation::HardSigmoid => {
            if a.is_nan() {
                a
            } else {
                (a * b + c).clamp(0.0, 1.0)
            }
        }
        Operation::HardSwish => {
            if a.is_nan() {
                a
            } else {
                a * (a / 6.0 + 0.5).clamp(0.0, 1.0)
            }
        }
        Operation::Greater => truth(a > b),
        Operation::Less => truth(a < b),
        Operation::GreaterOrEqual => truth(a >= b),
        Operation::LessOrEqual => truth(a <= b),
        Operation::Or => truth(a != 0.0 || b != 0.0),
        Operation::Not => truth(a == 0.0),
        Operation::Where => {
            if a != 0.0 {
                b
            } else {
                c
            }
        }
        Operation::Erf => statrs::function::erf::erf(a),
        Operation::Tanh => a.tanh(),
        Operation::Softplus => {
            if a.is_nan() {
                a
            } else {
                a.max(0.0) + (-a.abs()).exp().ln_1p()
            }
        }
        Operation::Softsign => a / (1.0 + a.abs()),
        Operation::Log => a.ln(),
        Operation::Elu => {
            if a > 0.0 {
                a
            } else {
                b * a.exp_m1()
            }
        }
        Operation::Selu => c * if a > 0.0 { a } else { b * a.exp_m1() },
        Operation::Threshold => {
            if a <= b {
                0.0
            } else {
                a
            }
        }
        Operation::Shrink => {
            if a > c {
                a - b
            } else if a < -c {
                a + b
            } else if a.is_nan() {
                a
            } else {
                0.0
            }
        }
        Operation::Power => a.powf(b),
        Operation::Equal => truth(a == b),
    }
}

/// Operands that an operation may meet.
fn operands(operation: Operation) -> [Vec<f32>; 3] {
    use Operation::{And, Log, Not, Or, Power, Shrink, Sqrt, Where};
    let numbers: Vec<f32> = (0..40)
        .map(|i| ((i * 37 % 41) as f32 - 20.0) / 7.0)
        .chain([0.0, 1e-30, 30.0, -30.0, 1e4, f32::NAN, f32::INFINITY, -f32::INFINITY])
        .collect();
    let truths: Vec<f32> = (0..48).map(|i| (i % 2) as f32).collect();
    let others: Vec<f32> = (0..48).map(|i| (i % 3) as f32 - 1.0).collect();
    match operation {
        And | Or => [truths, (0..48).map(|i| (i / 2 % 2) as f32).collect(), others],
        Not => [truths, others.clone(), others],
        Where => [truths, numbers.clone(), others],
        Sqrt | Log => [numbers.iter().map(|x| x.abs()).collect(), others.clone(), others],
        Power => [numbers, (0..48).map(|i| (2 + i % 2) as f32).collect(), others],
        Shrink => [numbers, others.iter().map(|x| x.abs()).collect(), vec![0.5; 48]],
        Operation::Clip => [numbers, vec![-1.5; 48], vec![2.0; 48]],
        _ => [numbers, others.clone(), others],
    }
}

#[test]
fn every_operation_is_what_it_means() {
    for (code, &operation) in Operation::ALL.iter().enumerate() {
        let expression = Expression { steps: vec![[code as i64, 0, 1, 2]], constants: vec![], results: vec![0], sums: 0 };
        let form = Form {
            inputs: vec![(Element::F32, Reading::Whole); 3],
            output: Element::F32,
            pairs: vec![],
            quads: true,
            rows: false,
            long: false,
        };
        let compiled = compile(&expression, &form);
        let [mut a, mut b, mut c] = operands(operation);
        let (mut y, mut n) = (vec![0f32; a.len()], a.len() as u32);
        let mut list: Vec<*mut c_void> = [&mut a, &mut b, &mut c, &mut y].map(|v| v.as_mut_ptr().cast()).to_vec();
        list.push((&raw mut n).cast());
        compiled.call("expression", &mut list, [3, 1]);
        for i in 0..a.len() {
            let expected = meaning(operation, [a[i], b[i], c[i]].map(f64::from)) as f32;
            // Near −3 the slope of a HardSwish is the difference of two numbers of its argument's size.
            let size = if operation == Operation::HardSwish { a[i].abs() } else { expected.abs() };
            let near = (y[i] - expected).abs() <= 4e-7 * size.max(1e-30) || y[i].to_bits() == expected.to_bits() || y[i] == expected;
            assert!(
                near || (y[i].is_nan() && expected.is_nan()),
                "{operation:?} of {} {} {}: {} is not {expected}",
                a[i],
                b[i],
                c[i],
                y[i]
            );
        }
    }
}

#[test]
fn numbers_of_half_precision_are_read_rounded_and_written() {
    let wide: Vec<f32> = (0..4000)
        .map(|i| ((i * 7919 % 4001) as f32 - 2000.0) * 1.7f32.powi(i % 40 - 20))
        .chain([0.0, -0.0, 1e-8, 65519.0, 65520.0, f32::INFINITY, f32::NAN, 1e-5])
        .collect();
    for (element, code) in [(Element::F16, ROUND_F16), (Element::Bf16, ROUND_BF16)] {
        let round = |x: f32| match element {
            Element::F16 => half::f16::from_f32(x).to_bits(),
            _ => half::bf16::from_f32(x).to_bits(),
        };
        let float = |bits: u16| match element {
            Element::F16 => half::f16::from_bits(bits).to_f32(),
            _ => half::bf16::from_bits(bits).to_f32(),
        };
        // round(x) · 3 + h, from float32 and half precision, to half precision.
        let expression = Expression {
            steps: vec![[code, 0, 0, 0], [Operation::Mul as i64, STEP, CONSTANT, CONSTANT], [Operation::Add as i64, STEP + 1, 1, 1]],
            constants: vec![3.0],
            results: vec![2],
            sums: 0,
        };
        for quads in [true, false] {
            let inputs = vec![(Element::F32, Reading::Whole), (element, Reading::Whole)];
            let compiled = compile(&expression, &Form { inputs, output: element, pairs: vec![], quads, rows: false, long: true });
            let mut x = wide.clone();
            let mut h: Vec<u16> = wide.iter().rev().map(|x| round(*x)).collect();
            let (mut y, mut n) = (vec![0u16; x.len()], x.len() as u64);
            let mut list: Vec<*mut c_void> = vec![x.as_mut_ptr().cast(), h.as_mut_ptr().cast(), y.as_mut_ptr().cast(), (&raw mut n).cast()];
            compiled.call("expression", &mut list, [7, 1]);
            for i in 0..x.len() {
                let expected = round(float(round(x[i])) * 3.0 + float(h[i]));
                let nan = float(y[i]).is_nan() && float(expected).is_nan();
                assert!(y[i] == expected || nan, "{element:?} {} and {}: {:#x} is not {expected:#x}", x[i], float(h[i]), y[i]);
            }
        }
    }
}

#[test]
fn sums_are_over_what_they_are_asked_for_while_others_are_written() {
    let images: [[u32; 4]; 4] = [[3, 5, 7, 1], [2, 1, 100, 9], [1, 4, 1, 2], [4, 3, 49, 33]];
    let last: [[u32; 4]; 3] = [[40, 8, 1, 3], [7, 4, 1, 9], [5, 12, 1, 1]];
    for reading in [Reading::Spread(0), Reading::Channel] {
        sums(reading, false, false, &images);
        sums(reading, true, false, &[[40, 8, 1, 3], [7, 5, 1, 9]]);
        sums(reading, true, true, &last);
    }
}

/// Over `[outer, channels, inner]`, in as many parts.
fn sums(reading: Reading, rows: bool, quads: bool, cases: &[[u32; 4]]) {
    // x · g with a number for each channel: written, summed, and its square summed.
    let mul = Operation::Mul as i64;
    let expression =
        Expression { steps: vec![[mul, 0, 1, 1], [mul, STEP, STEP, STEP]], constants: vec![], results: vec![0, 0, 1], sums: 2 };
    let form = Form {
        inputs: vec![(Element::F32, Reading::Whole), (Element::F32, reading)],
        output: Element::F32,
        pairs: if reading == Reading::Channel { vec![] } else { vec![if quads { Along::Next } else { Along::Each }] },
        quads,
        rows,
        long: false,
    };
    let compiled = compile(&expression, &form);
    for &[outer, channels, inner, splits] in cases {
        let total = (outer * channels * inner) as usize;
        let mut x: Vec<f32> = (0..total).map(|i| (i * 31 % 17) as f32 - 8.0).collect();
        let mut gate: Vec<f32> = (0..channels).map(|c| c as f32 - 1.5).collect();
        let mut y = vec![0f32; total];
        let mut parts = vec![0f32; (2 * splits * channels) as usize];
        let (mut sums, mut squares) = (vec![0f32; channels as usize], vec![0f32; channels as usize]);
        let (mut gate_inner, mut run, mut o, mut ch, mut inn) = (inner, channels, outer, channels, inner);
        let mut list: Vec<*mut c_void> = vec![x.as_mut_ptr().cast(), gate.as_mut_ptr().cast()];
        if reading != Reading::Channel {
            list.extend([(&raw mut gate_inner).cast(), (&raw mut run).cast()]);
        }
        let (mut count, mut many) = (2.0f32, splits);
        let ends: [*mut c_void; 5] = [
            parts.as_mut_ptr().cast(),
            (&raw mut many).cast(),
            (&raw mut count).cast(),
            sums.as_mut_ptr().cast(),
            squares.as_mut_ptr().cast(),
        ];
        list.extend([y.as_mut_ptr().cast(), (&raw mut o).cast(), (&raw mut ch).cast(), (&raw mut inn).cast()]);
        list.extend(ends);
        compiled.call("expression", &mut list, [if quads { channels / 4 } else { channels }, splits]);
        let mut list: Vec<*mut c_void> = vec![(&raw mut ch).cast()];
        list.extend(ends);
        if splits > 1 {
            compiled.call("finish", &mut list, [channels, 2]);
        }
        for c in 0..channels as usize {
            let of = |o: usize, i: usize| (o * channels as usize + c) * inner as usize + i;
            let all = || (0..outer as usize).flat_map(|o| (0..inner as usize).map(move |i| of(o, i)));
            let value = |at: usize| f64::from(x[at]) * f64::from(gate[c]);
            assert!(all().all(|at| f64::from(y[at]) == value(at)));
            let (sum, square): (f64, f64) = (all().map(value).sum(), all().map(|at| value(at).powi(2)).sum());
            assert!(
                (f64::from(sums[c]) * 2.0 - sum).abs() < 1e-3 && (f64::from(squares[c]) * 2.0 - square).abs() < 1e-6 * square.max(1.0),
                "{outer} {channels} {inner}"
            );
        }
    }
}

#[test]
fn channels_are_spread_over_places() {
    // x − g, and x · h, with numbers for channels and for images: alone, in fours that share them, in fours of which each has the next, and in fours that do neither.
    let cases = [(2u32, 3u32, 8u32, true), (4, 3, 5, true), (1, 3, 5, false), (6, 8, 1, true), (4, 3, 1, true), (5, 8, 1, false)];
    for (images, channels, inner, quads) in cases {
        let steps = vec![[Operation::Sub as i64, 0, 1, 1], [Operation::Mul as i64, 0, 2, 2]];
        let expression = Expression { steps, constants: vec![], results: vec![0, 1], sums: 0 };
        let inputs = vec![(Element::F32, Reading::Whole), (Element::F32, Reading::Spread(0)), (Element::Bool, Reading::Spread(1))];
        let pairs = [(inner, channels), (inner * channels, images)].map(|(inner, run)| Along::of((inner as usize, run as usize))).to_vec();
        let compiled = compile(&expression, &Form { inputs, output: Element::F32, pairs, quads, rows: false, long: false });
        let total = (images * channels * inner) as usize;
        let mut x: Vec<f32> = (0..total).map(|i| i as f32).collect();
        let mut gate: Vec<f32> = (0..channels).map(|c| 100.0 * c as f32).collect();
        let mut keeps: Vec<u8> = (0..images).map(|n| (n % 2) as u8).collect();
        let (mut differences, mut products) = (vec![0f32; total], vec![0f32; total]);
        let (mut pixels, mut run, mut all, mut count, mut n) = (inner, channels, inner * channels, images, total as u32);
        let mut list: Vec<*mut c_void> = vec![x.as_mut_ptr().cast(), gate.as_mut_ptr().cast(), keeps.as_mut_ptr().cast()];
        list.extend([&mut pixels, &mut run, &mut all, &mut count].map(|p| std::ptr::from_mut(p).cast::<c_void>()));
        list.extend([differences.as_mut_ptr().cast(), products.as_mut_ptr().cast(), (&raw mut n).cast()]);
        compiled.call("expression", &mut list, [2, 1]);
        for i in 0..total {
            let (channel, image) = (i / inner as usize % channels as usize, i / (inner * channels) as usize);
            assert_eq!((differences[i], products[i]), (x[i] - gate[channel], x[i] * f32::from(keeps[image])), "{i}");
        }
    }
}

#[test]
fn steps_that_read_what_is_not_there_are_refused() {
    let of = |step: [i64; 4], results: Vec<usize>| Expression { steps: vec![step], constants: vec![1.0], results, sums: 0 }.check(2);
    assert!(of([1, 0, 1, CONSTANT], vec![0]).is_ok());
    for (step, results) in [
        ([1, 0, 2, 0], vec![0]),
        ([1, 0, CONSTANT + 1, 0], vec![0]),
        ([1, STEP, 0, 0], vec![0]),
        ([99, 0, 0, 0], vec![0]),
        ([-1, 0, 0, 0], vec![0]),
        ([1, -1, 0, 0], vec![0]),
        ([1, 0, 0, 0], vec![1]),
    ] {
        assert!(of(step, results).is_err(), "{step:?}");
    }
}
