//! Products of matrices against float64.

use super::isa::{Isa, Pairs};
use super::matrix::{ROWS, STEP, Term, Tiles};
use half::bf16;

/// Two terms with rows at other distances, from nothing and added; what lies beside the result stays.
#[test]
fn products_of_matrices() {
    let Some(amx) = Isa::tested().into_iter().find_map(|isa| isa.pairs().and_then(|Pairs { matrices, .. }| matrices)) else { return };
    let numbers = |count: usize, seed: usize| -> Vec<bf16> {
        (0..count).map(|i| bf16::from_f32(((i * 7919 + seed) % 255) as f32 / 128.0 - 1.0)).collect()
    };
    let (steps, distances) = ([1, 2], [80usize, 64]);
    let lefts = [numbers(ROWS * distances[0], 1), numbers(ROWS * distances[1], 2)];
    let rights = steps.map(|steps| numbers(steps * STEP * 64, 3));
    let terms: Vec<Term> = (0..2)
        .map(|t| Term { left: lefts[t].as_ptr().cast(), distance: distances[t] * 2, right: rights[t].as_ptr().cast(), steps: steps[t] })
        .collect();
    let stride = 40;
    let (mut out, mut expected) = (vec![7.0f32; ROWS * stride], vec![7.0f64; ROWS * stride]);
    for (row, line) in expected.chunks_exact_mut(stride).enumerate() {
        for (column, value) in line[..32].iter_mut().enumerate() {
            *value = (0..2)
                .flat_map(|t| (0..steps[t] * STEP * 2).map(move |k| (t, k)))
                .map(|(t, k)| lefts[t][row * distances[t] + k].to_f64() * rights[t][k / 2 * 64 + column * 2 + k % 2].to_f64())
                .sum();
        }
    }
    let tiles = Tiles::new(amx);
    for times in 1..3 {
        // SAFETY: rows have 16 and 32 words, panels 16 and 32 rows of 32 words, and `out` has 32 rows of 40 elements.
        unsafe {
            match times {
                1 => tiles.product(&terms, out.as_mut_ptr(), stride * 4),
                _ => tiles.add_product(&terms, out.as_mut_ptr(), stride * 4),
            }
        }
        for (at, (found, expected)) in out.iter().zip(&expected).enumerate() {
            let factor = if at % stride < 32 { times as f64 } else { 1.0 };
            assert!((f64::from(*found) - factor * expected).abs() < 1e-4, "element {at}, time {times}: {found} for {}", factor * expected);
        }
    }
    // SAFETY: a sum of nothing reads nothing.
    unsafe { tiles.product(&[], out.as_mut_ptr(), stride * 4) };
    assert!(out.iter().enumerate().all(|(at, v)| *v == if at % stride < 32 { 0.0 } else { 7.0 }));
}
