//! Kernels on images of bfloat16. What is no product is the float32 kernel on the same numbers, rounded at the end; products are held against
//! float64 on the rounded factors.

use super::cases::{close, convolutions, cores, numbers, pairs};
use super::images::{average_pool, average_pool_grad, max_pool, max_pool_grad, pixel_sums, spread_rows, transposed};
use super::norm::{Affine, affine, column_sums, cotangent_sums, moments};
use super::{ConvGeometry, ConvPlan, Element, Epilogue, Expression, Isa, Operand, Operation, Source, Step};
use half::bf16;

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| Element::from_f32(v)).collect()
}

fn floats(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|&v| Element::to_f32(v)).collect()
}

/// Numbers that bfloat16 has.
fn rounded(count: usize, seed: u64) -> Vec<f32> {
    floats(&halves(&numbers(count, seed)))
}

/// Every element is the exact one, rounded to bfloat16; before it is rounded it may be off by `tolerance` of the norm, eight times as much
/// where it is the worst of many.
#[track_caller]
fn nearest(what: &str, found: &[bf16], exact: &[f64], tolerance: f64) {
    assert_eq!(found.len(), exact.len(), "{what}");
    let size = (exact.iter().map(|v| v * v).sum::<f64>() / exact.len().max(1) as f64).sqrt();
    let mut bias = 0.0;
    for (i, (found, exact)) in found.iter().zip(exact).enumerate() {
        let off = Element::to_f32(*found) as f64 - exact;
        // Half of a unit in the last of eight places.
        let half = if *exact == 0.0 { 0.0 } else { exact.abs().log2().floor().exp2() / 256.0 };
        assert!(off.abs() <= half + size * tolerance * 8.0, "{what}, element {i}: {found} for {exact}");
        bias += off / size.max(1e-30);
    }
    // Cutting off instead of rounding would be off by a quarter of a unit on average, to one side.
    assert!(exact.len() < 200 || (bias / exact.len() as f64).abs() < 4e-4, "{what}: off to one side by {bias}");
}

#[test]
fn products_of_rounded_factors() {
    for (what, c, tolerance) in convolutions() {
        let (x, w) = (rounded(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.depth() * c.taps(), 2));
        let (dy, factors) = (rounded(c.images * c.output_pixels() * c.features, 3), floats(&halves(&w)));
        let (mut y0, mut dx0, mut dw0) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        pairs(&c, |i, j, o| {
            y0[o] += x[i] as f64 * factors[j] as f64;
            dx0[i] += dy[o] as f64 * factors[j] as f64;
            dw0[j] += dy[o] as f64 * x[i] as f64;
        });
        let db0: Vec<f64> = (0..c.features).map(|o| dy.iter().skip(o).step_by(c.features).map(|&v| v as f64).sum()).collect();
        let (x, dy) = (halves(&x), halves(&dy));
        for isa in Isa::tested() {
            let run = |threads: usize| {
                let (mut y, mut dx) = (vec![bf16::NAN; dy.len()], vec![bf16::NAN; x.len()]);
                let (mut dw, mut db) = (vec![f32::NAN; w.len()], vec![f32::NAN; c.features]);
                let plan = ConvPlan::new(c.clone());
                plan.forward(&cores(threads, isa), &x, &w, &Epilogue::default(), &mut y);
                plan.input_grad(&cores(threads, isa), &dy, &w, &Epilogue::default(), &mut dx);
                plan.weight_grad(&cores(threads, isa), &x, &dy, &mut dw, Some(&mut db));
                (y, dx, dw, db)
            };
            let (y, dx, dw, db) = run(2);
            nearest(&format!("{what}, {isa:?}: y"), &y, &y0, tolerance);
            nearest(&format!("{what}, {isa:?}: dx"), &dx, &dx0, tolerance);
            close(&format!("{what}, {isa:?}: dw"), &dw, &dw0, tolerance);
            close(&format!("{what}, {isa:?}: db"), &db, &db0, 1e-6);
            let one = run(1);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(floats(&one.0) == floats(&y) && floats(&one.1) == floats(&dx), "{what}, {isa:?}: other bits with one thread");
            assert!(bits(&one.2) == bits(&dw) && bits(&one.3) == bits(&db), "{what}, {isa:?}: other bits with one thread");
        }
    }
}

/// Bias, addend, rectifier and mask come before the one rounding.
#[test]
fn epilogues_of_products() {
    for (what, c, tolerance) in convolutions() {
        let (x, w) = (rounded(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.depth() * c.taps(), 2));
        let (factors, len) = (floats(&halves(&w)), c.images * c.output_pixels() * c.features);
        let (bias, addend, mask) = (numbers(c.features, 4), rounded(len, 5), rounded(len, 6));
        let mut plain = vec![0.0; len];
        pairs(&c, |i, j, o| plain[o] += x[i] as f64 * factors[j] as f64);
        let (x, addend, mask) = (halves(&x), halves(&addend), halves(&mask));
        for (isa, case) in Isa::tested().into_iter().flat_map(|isa| [3, 7, 8, 10, 15].map(|case| (isa, case))) {
            let epilogue = Epilogue {
                bias: (case & 1 != 0).then_some(&bias[..]),
                addend: (case & 2 != 0).then_some(&addend[..]),
                relu: case & 4 != 0,
                mask: (case & 8 != 0).then_some(&mask[..]),
                ceiling: None,
            };
            let exact: Vec<f64> = (0..len)
                .map(|i| {
                    let v = plain[i] + epilogue.bias.map_or(0.0, |b| b[i % c.features] as f64);
                    let v = v + epilogue.addend.map_or(0.0, |a| Element::to_f32(a[i]) as f64);
                    let v = if epilogue.relu { v.max(0.0) } else { v };
                    if epilogue.mask.is_some_and(|m| Element::to_f32(m[i]) <= 0.0) { 0.0 } else { v }
                })
                .collect();
            let mut y = vec![bf16::NAN; len];
            ConvPlan::new(c.clone()).forward(&cores(2, isa), &x, &w, &epilogue, &mut y);
            // A mask leaves fewer elements to the norm.
            nearest(&format!("{what}, {isa:?}, case {case}"), &y, &exact, 2.0 * tolerance);
        }
    }
}

/// The same bits as the float32 kernel's, rounded.
#[track_caller]
fn alike(what: &str, isa: Isa, found: &[bf16], of_floats: &[f32]) {
    let bits = |values: &[bf16]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(bits(found) == bits(&halves(of_floats)), "{what}, {isa:?}");
}

#[test]
fn pooling_and_layouts() {
    let window = |kernel: usize, stride: usize, pad: usize, channels: usize| {
        let out = |size: usize| (size + 2 * pad - kernel) / stride + 1;
        ConvGeometry {
            images: 2,
            input: [9, 8],
            channels,
            output: [out(9), out(8)],
            features: channels,
            kernel: [kernel; 2],
            strides: [stride; 2],
            dilations: [1, 1],
            pads: [pad; 2],
            groups: 1,
            run: 1,
        }
    };
    for (window, isa) in
        [window(3, 2, 1, 70), window(2, 2, 0, 5), window(3, 1, 1, 33)].iter().flat_map(|w| Isa::tested().into_iter().map(move |i| (w, i)))
    {
        let inputs = window.images * window.input_pixels() * window.channels;
        let outputs = window.images * window.output_pixels() * window.channels;
        let cores = cores(2, isa);
        // Few different values, so that windows have ties.
        let x: Vec<f32> = numbers(inputs, 1).iter().map(|v| (v * 4.0).round()).collect();
        let dy = rounded(outputs, 2);
        let (xh, dyh) = (halves(&x), halves(&dy));
        let (mut y, mut dx) = (vec![0.0; outputs], vec![0.0; inputs]);
        let (mut yh, mut dxh) = (vec![bf16::NAN; outputs], vec![bf16::NAN; inputs]);
        max_pool(&cores, window, &x, &mut y);
        max_pool(&cores, window, &xh, &mut yh);
        alike("largest", isa, &yh, &y);
        max_pool_grad(&cores, window, &x, &y, &dy, &mut dx);
        max_pool_grad(&cores, window, &xh, &yh, &dyh, &mut dxh);
        alike("gradient of the largest", isa, &dxh, &dx);
        for pads_count in [false, true] {
            average_pool(&cores, window, pads_count, &x, &mut y);
            average_pool(&cores, window, pads_count, &xh, &mut yh);
            alike("means", isa, &yh, &y);
            average_pool_grad(&cores, window, pads_count, &dy, &mut dx);
            average_pool_grad(&cores, window, pads_count, &dyh, &mut dxh);
            alike("shares", isa, &dxh, &dx);
        }
        let (size, images, channels) = (window.input_pixels(), window.images, window.channels);
        let (mut sums, mut sums_of_halves) = (vec![0.0; images * channels], vec![0.0; images * channels]);
        pixel_sums(&cores, (images, channels), 3.0, &x, &mut sums);
        pixel_sums(&cores, (images, channels), 3.0, &xh, &mut sums_of_halves);
        assert_eq!(sums, sums_of_halves);
        spread_rows(&cores, (images, channels), size, &sums, &mut dx);
        spread_rows(&cores, (images, channels), size, &sums, &mut dxh);
        alike("spread rows", isa, &dxh, &dx);
        let values = numbers(inputs, 7);
        transposed(&cores, images, channels, size, &values, &mut dx);
        transposed(&cores, images, channels, size, &values, &mut dxh);
        alike("rounded while it is laid out", isa, &dxh, &dx);
        let mut back = vec![0.0; inputs];
        transposed(&cores, images, size, channels, &dxh, &mut back);
        assert_eq!(back, floats(&halves(&values)));
    }
}

#[test]
fn statistics_and_affine_maps() {
    for ((rows, channels), isa) in
        [(1300, 33), (520, 5), (900, 144)].into_iter().flat_map(|s| Isa::tested().into_iter().map(move |i| (s, i)))
    {
        let cores = cores(2, isa);
        let (x, dy) = (rounded(rows * channels, 1), rounded(rows * channels, 2));
        let (xh, dyh) = (halves(&x), halves(&dy));
        assert_eq!(moments(&cores, &x, channels), moments(&cores, &xh, channels));
        let mean = moments(&cores, &x, channels).0;
        assert_eq!(cotangent_sums(&cores, &dy, &x, &mean), cotangent_sums(&cores, &dyh, &xh, &mean));
        let (mut sums, mut sums_of_halves) = (vec![0.0; channels], vec![0.0; channels]);
        column_sums(&cores, &dy, channels, &mut sums);
        column_sums(&cores, &dyh, channels, &mut sums_of_halves);
        assert_eq!(sums, sums_of_halves);
        let (factor, offset, tilt) = (numbers(channels, 3), numbers(channels, 4), numbers(channels, 5));
        let (mut y, mut yh) = (vec![0.0; x.len()], vec![bf16::NAN; x.len()]);
        let map = Affine { x: &x[..], centre: &mean, factor: &factor, offset: &offset, other: Some((&dy[..], &mean[..], &tilt[..])) };
        affine(&cores, &map, &Epilogue { bias: None, addend: Some(&dy), relu: true, mask: None, ceiling: None }, &mut y);
        let map = Affine { x: &xh[..], centre: &mean, factor: &factor, offset: &offset, other: Some((&dyh[..], &mean[..], &tilt[..])) };
        affine(&cores, &map, &Epilogue { bias: None, addend: Some(&dyh), relu: true, mask: None, ceiling: None }, &mut yh);
        alike("affine map", isa, &yh, &y);
    }
}

#[test]
fn expressions() {
    let steps = vec![
        Step { operation: Operation::Sigmoid, operands: [Source::Input(0); 3] },
        Step { operation: Operation::Mul, operands: [Source::Step(0), Source::Input(1), Source::Input(1)] },
        Step { operation: Operation::Add, operands: [Source::Step(1), Source::Input(2), Source::Input(2)] },
    ];
    let expression = Expression::new(vec![], steps, vec![2, 0], 3).unwrap();
    let (images, size, channels) = (3, 700, 7);
    let (x, z, gates) = (rounded(images * size, 1), rounded(images * size, 2), numbers(images * channels, 3));
    let (xh, zh) = (halves(&x), halves(&z));
    for isa in Isa::tested() {
        let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (mut ah, mut bh) = (vec![bf16::NAN; x.len()], vec![bf16::NAN; x.len()]);
        let operands = [Operand::Whole(&x[..]), Operand::Channels(&gates), Operand::Whole(&z[..])];
        expression.compute(&cores(2, isa), (size, channels), &operands, vec![&mut a, &mut b]);
        let operands = [Operand::Whole(&xh[..]), Operand::Channels(&gates), Operand::Whole(&zh[..])];
        expression.compute(&cores(2, isa), (size, channels), &operands, vec![&mut ah, &mut bh]);
        alike("first", isa, &ah, &a);
        alike("second", isa, &bh, &b);
    }
}

/// An infinity or a NaN is one in the result as well.
#[test]
fn what_is_no_number_stays_none() {
    let c = ConvGeometry {
        images: 1,
        input: [4, 4],
        channels: 32,
        output: [4, 4],
        features: 32,
        kernel: [1, 1],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [0, 0],
        groups: 1,
        run: 1,
    };
    let mut x = vec![bf16::ONE; 16 * 32];
    (x[0], x[32]) = (bf16::NAN, bf16::INFINITY);
    let w = vec![1.0; 32 * 32];
    for isa in Isa::tested() {
        let mut y = vec![bf16::ZERO; x.len()];
        ConvPlan::new(c.clone()).forward(&cores(2, isa), &x, &w, &Epilogue::default(), &mut y);
        assert!(y[..32].iter().all(|v| v.is_nan()), "{isa:?}");
        assert!(y[32..64].iter().all(|v| *v == bf16::INFINITY), "{isa:?}");
        assert!(y[64..].iter().all(|v| Element::to_f32(*v) == 32.0), "{isa:?}");
    }
}
