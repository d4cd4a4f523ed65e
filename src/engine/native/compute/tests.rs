//! The kernels against their definitions, computed in float64 one element at a time.

use super::cases::{allowed, close, conv, convolutions, cores, numbers, pairs};
use super::images::{average_pool, average_pool_grad, max_pool, max_pool_grad, pixel_sums, spread_rows, transposed};
use super::norm::{Affine, affine, column_sums, cotangent_sums, moments};
use super::update::{Pull, Step, update};
use super::{ConvPlan, Epilogue, Isa};

#[test]
fn convolutions_and_their_gradients() {
    for (what, c, tolerance) in convolutions() {
        let (x, w) = (numbers(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.depth() * c.taps(), 2));
        let dy = numbers(c.images * c.output_pixels() * c.features, 3);
        let (mut y0, mut dx0, mut dw0) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        pairs(&c, |i, j, o| {
            y0[o] += x[i] as f64 * w[j] as f64;
            dx0[i] += dy[o] as f64 * w[j] as f64;
            dw0[j] += dy[o] as f64 * x[i] as f64;
        });
        let db0: Vec<f64> = (0..c.features).map(|o| dy.iter().skip(o).step_by(c.features).map(|&v| v as f64).sum()).collect();
        for isa in Isa::tested() {
            let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
            let (mut dw, mut db) = (vec![f32::NAN; w.len()], vec![f32::NAN; c.features]);
            let plan = ConvPlan::new(c.clone());
            plan.forward(&cores(2, isa), &x, &w, &Epilogue::default(), &mut y);
            plan.input_grad(&cores(2, isa), &dy, &w, &Epilogue::default(), &mut dx);
            plan.weight_grad(&cores(2, isa), &x, &dy, &mut dw, Some(&mut db));
            close(&format!("{what}, {isa:?}: y"), &y, &y0, allowed(isa, tolerance));
            close(&format!("{what}, {isa:?}: dx"), &dx, &dx0, allowed(isa, tolerance));
            close(&format!("{what}, {isa:?}: dw"), &dw, &dw0, allowed(isa, tolerance));
            close(&format!("{what}, {isa:?}: db"), &db, &db0, 1e-6);
        }
    }
}

/// What follows a product: bias, addend, rectifier, mask, each alone and together, the last two also with a ceiling.
#[test]
fn epilogues() {
    for (what, c, tolerance) in convolutions() {
        let (x, w) = (numbers(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.depth() * c.taps(), 2));
        let len = c.images * c.output_pixels() * c.features;
        let (bias, addend, mut plain) = (numbers(c.features, 4), numbers(len, 5), vec![0.0; len]);
        pairs(&c, |i, j, o| plain[o] += x[i] as f64 * w[j] as f64);
        // A ceiling among the results, and masks above it.
        let largest = plain.iter().fold(0.0f64, |a, v| a.max(*v)) as f32;
        let mask: Vec<f32> = numbers(len, 6).iter().map(|m| m * largest).collect();
        for isa in Isa::tested() {
            // A ceiling changes nothing without a rectifier or a mask.
            for case in (0..16).chain(20..32) {
                let ceiling = (case & 16 != 0).then_some(0.8 * largest);
                let epilogue = Epilogue {
                    bias: (case & 1 != 0).then_some(&bias),
                    addend: (case & 2 != 0).then_some(&addend),
                    relu: case & 4 != 0,
                    mask: (case & 8 != 0).then_some(&mask),
                    ceiling,
                };
                let expected: Vec<f64> = (plain.iter().enumerate())
                    .map(|(i, &v)| {
                        let v = v + epilogue.bias.map_or(0.0, |b| b[i % c.features] as f64) + epilogue.addend.map_or(0.0, |a| a[i] as f64);
                        let ceiling = ceiling.map_or(f64::INFINITY, f64::from);
                        let v = if epilogue.relu { v.max(0.0).min(ceiling) } else { v };
                        if epilogue.mask.is_some_and(|m| m[i] <= 0.0 || f64::from(m[i]) >= ceiling) { 0.0 } else { v }
                    })
                    .collect();
                let mut y = vec![f32::NAN; plain.len()];
                ConvPlan::new(c.clone()).forward(&cores(2, isa), &x, &w, &epilogue, &mut y);
                close(&format!("{what}, {isa:?}, case {case}"), &y, &expected, allowed(isa, tolerance));
            }
        }
    }
}

/// The same bits for any number of threads.
#[test]
fn threads_change_nothing() {
    for (what, c, _) in convolutions() {
        let (x, w) = (numbers(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.depth() * c.taps(), 2));
        let dy = numbers(c.images * c.output_pixels() * c.features, 3);
        for isa in Isa::tested() {
            let run = |threads: usize| {
                let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
                let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; c.features]);
                let plan = ConvPlan::new(c.clone());
                plan.forward(&cores(threads, isa), &x, &w, &Epilogue::default(), &mut y);
                plan.input_grad(&cores(threads, isa), &dy, &w, &Epilogue::default(), &mut dx);
                plan.weight_grad(&cores(threads, isa), &x, &dy, &mut dw, Some(&mut db));
                [y, dx, dw, db].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert!(run(1) == run(3), "{what}, {isa:?}");
        }
    }
}

#[test]
fn layouts() {
    let (n, rows, columns) = (2, 19, 33);
    let x = numbers(n * rows * columns, 1);
    let mut out = vec![0.0; x.len()];
    transposed(&cores(2, Isa::best()), n, rows, columns, &x, &mut out);
    for (i, r, c) in (0..n).flat_map(|i| (0..rows).flat_map(move |r| (0..columns).map(move |c| (i, r, c)))) {
        assert_eq!(out[(i * columns + c) * rows + r], x[(i * rows + r) * columns + c]);
    }
}

/// Large results at addresses that are multiples of 64 go past the caches, and are the same.
#[test]
fn large_results() {
    let c = conv(2, [9, 9], 40, 64, 1, 1, 0);
    let (x, w) = (numbers(c.images * c.input_pixels() * c.channels, 1), numbers(c.features * c.channels, 2));
    let len = c.images * c.output_pixels() * c.features;
    let addend = numbers(len, 3);
    let epilogue = Epilogue { addend: Some(&addend), relu: true, ..Epilogue::default() };
    for isa in Isa::tested() {
        let mut buffer = vec![f32::NAN; len + 17];
        let aligned = buffer.as_ptr().align_offset(64);
        let [plain, streamed] = [aligned + 1, aligned].map(|at| {
            let y = &mut buffer[at..at + len];
            ConvPlan::new(c.clone()).forward(&cores(2, isa), &x, &w, &epilogue, y);
            y.to_vec()
        });
        assert_eq!(plain, streamed, "{isa:?}");
        assert!(plain.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn pooling() {
    let windows = [
        conv(2, [9, 8], 70, 70, 3, 2, 1),
        conv(1, [6, 6], 5, 5, 2, 2, 0),
        conv(1, [5, 7], 3, 3, 3, 1, 1),
        conv(1, [8, 8], 20, 20, 2, 3, 0),
    ];
    for (window, isa) in windows.iter().flat_map(|w| Isa::tested().into_iter().map(move |isa| (w, isa))) {
        // Few different values, so that windows have ties.
        let x: Vec<f32> = numbers(window.images * window.input_pixels() * window.channels, 1).iter().map(|v| (v * 4.0).round()).collect();
        let outputs = window.images * window.output_pixels() * window.channels;
        let dy = numbers(outputs, 2);
        let (mut y, mut dx) = (vec![f32::NAN; outputs], vec![f32::NAN; x.len()]);
        max_pool(&cores(2, Isa::best()), window, &x, &mut y);
        max_pool_grad(&cores(2, isa), window, &x, &y, &dy, &mut dx);
        let mut expected = vec![0.0; x.len()];
        for o in 0..outputs {
            let (c, pixel) = (o % window.channels, o / window.channels);
            let (n, at) = (pixel / window.output_pixels(), pixel % window.output_pixels());
            let (oy, ox) = (at / window.output[1], at % window.output[1]);
            let mut best: Option<usize> = None;
            for (ky, kx) in (0..window.kernel[0]).flat_map(|y| (0..window.kernel[1]).map(move |x| (y, x))) {
                let (iy, ix) = (oy * window.strides[0] + ky, ox * window.strides[1] + kx);
                let inside = |p: usize, axis: usize| p.checked_sub(window.pads[axis]).filter(|&p| p < window.input[axis]);
                let Some((iy, ix)) = inside(iy, 0).zip(inside(ix, 1)) else { continue };
                let i = (n * window.input_pixels() + iy * window.input[1] + ix) * window.channels + c;
                if best.is_none_or(|b| x[i] > x[b]) {
                    best = Some(i);
                }
            }
            let best = best.unwrap();
            assert_eq!(y[o], x[best]);
            expected[best] += dy[o] as f64;
        }
        close("gradient of the largest", &dx, &expected, 1e-6);

        for pads_count in [false, true] {
            average_pool(&cores(2, isa), window, pads_count, &x, &mut y);
            average_pool_grad(&cores(2, isa), window, pads_count, &dy, &mut dx);
            let (mut means, mut shares) = (vec![0.0; outputs], vec![0.0; x.len()]);
            for o in 0..outputs {
                let (c, pixel) = (o % window.channels, o / window.channels);
                let (n, at) = (pixel / window.output_pixels(), pixel % window.output_pixels());
                let start = [at / window.output[1] * window.strides[0], at % window.output[1] * window.strides[1]];
                let mut places = vec![];
                for iy in start[0]..start[0] + window.kernel[0] {
                    for ix in start[1]..start[1] + window.kernel[1] {
                        let [iy, ix] = [iy as isize - window.pads[0] as isize, ix as isize - window.pads[1] as isize];
                        if (0..window.input[0] as isize).contains(&iy) && (0..window.input[1] as isize).contains(&ix) {
                            let pixel = n * window.input_pixels() + iy as usize * window.input[1] + ix as usize;
                            places.push(pixel * window.channels + c);
                        }
                    }
                }
                let divisor = if pads_count { window.kernel[0] * window.kernel[1] } else { places.len() } as f64;
                means[o] = places.iter().map(|&i| x[i] as f64).sum::<f64>() / divisor;
                places.iter().for_each(|&i| shares[i] += dy[o] as f64 / divisor);
            }
            close("means of windows", &y, &means, 1e-6);
            close("shares of windows", &dx, &shares, 1e-6);
        }
    }
    let x = numbers(2 * 12 * 5, 3);
    let mut y = vec![0.0; 2 * 5];
    pixel_sums(&cores(2, Isa::best()), (2, 5), 12.0, &x, &mut y);
    let expected: Vec<f64> = (0..10).map(|i| (0..12).map(|p| x[(i / 5 * 12 + p) * 5 + i % 5] as f64).sum::<f64>() / 12.0).collect();
    close("means", &y, &expected, 1e-6);
    let mut spread = vec![0.0; x.len()];
    spread_rows(&cores(2, Isa::best()), (2, 5), 12, &y, &mut spread);
    assert!((0..x.len()).all(|i| spread[i] == y[i / 60 * 5 + i % 5]));
}

#[test]
fn statistics_and_affine_maps() {
    for (rows, channels) in [(1300, 33), (7, 16), (520, 5), (900, 144)] {
        let x: Vec<f32> = numbers(rows * channels, 1).iter().enumerate().map(|(i, v)| v + (i % channels) as f32).collect();
        let dy = numbers(rows * channels, 2);
        let column = |values: &[f32], c: usize| values.iter().skip(c).step_by(channels).map(|&v| v as f64).collect::<Vec<_>>();
        let mean0: Vec<f64> = (0..channels).map(|c| column(&x, c).iter().sum::<f64>() / rows as f64).collect();
        let variance0: Vec<f64> =
            (0..channels).map(|c| column(&x, c).iter().map(|v| (v - mean0[c]).powi(2)).sum::<f64>() / rows as f64).collect();
        for isa in Isa::tested() {
            let (mean, variance) = moments(&cores(2, isa), &x, channels);
            close("mean", &mean, &mean0, 1e-6);
            close("variance", &variance, &variance0, 1e-5);
            let (sums, products) = cotangent_sums(&cores(2, isa), &dy, &x, &mean);
            let sums0: Vec<f64> = (0..channels).map(|c| column(&dy, c).iter().sum()).collect();
            let products0: Vec<f64> =
                (0..channels).map(|c| column(&dy, c).iter().zip(column(&x, c)).map(|(d, x)| d * (x - mean[c] as f64)).sum()).collect();
            close("Σ dy", &sums.iter().map(|&v| v as f32).collect::<Vec<_>>(), &sums0, 1e-5);
            close("Σ dy·(x − mean)", &products.iter().map(|&v| v as f32).collect::<Vec<_>>(), &products0, 1e-5);
            let mut total = vec![0.0; channels];
            column_sums(&cores(2, isa), &dy, channels, &mut total);
            close("sums", &total, &sums0, 1e-5);
            let (factor, offset, tilt) = (numbers(channels, 3), numbers(channels, 4), numbers(channels, 5));
            let centre = numbers(channels, 6);
            let map = Affine { x: &x, centre: &mean, factor: &factor, offset: &offset, other: Some((&dy, &centre, &tilt)) };
            let mut out = vec![f32::NAN; x.len()];
            affine(&cores(2, isa), &map, &Epilogue { relu: true, ..Epilogue::default() }, &mut out);
            let expected: Vec<f64> = (0..x.len())
                .map(|i| {
                    let c = i % channels;
                    let moved = (dy[i] as f64 - centre[c] as f64) * tilt[c] as f64;
                    ((x[i] as f64 - mean[c] as f64) * factor[c] as f64 + offset[c] as f64 + moved).max(0.0)
                })
                .collect();
            close("affine", &out, &expected, 1e-6);
        }
    }
}

#[test]
fn updates() {
    let count = 70_003;
    let (w, g, v) = (numbers(count, 1), numbers(count, 2), numbers(count, 3));
    let (start, fisher) = (numbers(count, 4), numbers(count, 5).iter().map(|f| f.abs()).collect::<Vec<_>>());
    for isa in Isa::tested() {
        for case in 0..8 {
            let pull = Pull { strength: 0.3, start: (case & 2 != 0).then_some(&start), fisher: (case & 4 != 0).then_some(&fisher) };
            let step =
                Step { w: Some(&w), gradient: &g, velocity: Some(&v), lr: 0.01, momentum: 0.9, nesterov: case & 1 != 0, pull: Some(pull) };
            let (mut next, mut moved) = (vec![f32::NAN; count], vec![f32::NAN; count]);
            let term = update(&cores(2, isa), &step, &mut next, &mut moved);
            let (mut term0, mut next0, mut moved0) = (0.0, vec![], vec![]);
            for i in 0..count {
                let d = w[i] as f64 - pull.start.map_or(0.0, |s| s[i] as f64);
                let f = pull.fisher.map_or(1.0, |f| f[i] as f64);
                term0 += 0.15 * f * d * d;
                let g = g[i] as f64 + 0.3 * f * d;
                let v = 0.9 * v[i] as f64 + g;
                moved0.push(v);
                next0.push(w[i] as f64 - 0.01 * if step.nesterov { g + 0.9 * v } else { v });
            }
            close("term", &[term], &[term0], 1e-5);
            close("velocity", &moved, &moved0, 1e-6);
            close("weights", &next, &next0, 1e-6);
            // In place: the same bits.
            let (mut w, mut v) = (w.clone(), v.clone());
            let again = update(&cores(1, isa), &Step { w: None, velocity: None, ..step }, &mut w, &mut v);
            assert!(again.to_bits() == term.to_bits() && w == next && v == moved);
        }
    }
}
