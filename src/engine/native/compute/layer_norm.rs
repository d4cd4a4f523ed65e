//! The gradients of a normalization of each row by itself.

use super::Cores;
use super::disjoint_slice::DisjointSlice;
use super::for_isa::for_isa;
use super::lanes::{LANES, Lanes};
use super::norm::partial_sums;
use std::ops::Range;

/// What the gradients are computed of: rows as long as `scale`, with a mean and an inverse deviation for each.
#[derive(Clone, Copy)]
pub struct Normalized<'a> {
    pub dy: &'a [f32],
    pub x: &'a [f32],
    pub scale: &'a [f32],
    pub inverse: &'a [f32],
    pub mean: &'a [f32],
}

/// Sixteen numbers as one.
#[inline(always)]
fn total<V: Lanes>(v: V) -> f32 {
    let mut all = [0.0; LANES];
    v.store(&mut all);
    all.iter().sum()
}

for_isa! {
    /// With `g = dy·scale` and `x̂ = (x − mean)·inverse`: `dx = inverse·(g − mean(g) − x̂·mean(g·x̂))`; adds `dy` to `shifts` and `dy·x̂` to `scales`.
    fn gradients_of<V>(isa, of: &Normalized, rows: Range<usize>, dx: &mut [f32], scales: &mut [f32], shifts: &mut [f32]) {
        let width = of.scale.len();
        let whole = width / LANES * LANES;
        for (row, dx) in rows.zip(dx.chunks_exact_mut(width)) {
            let (dy, x) = (&of.dy[row * width..][..width], &of.x[row * width..][..width]);
            let (mean, inverse) = (of.mean[row], of.inverse[row]);
            let (centre, factor) = (V::splat(isa, mean), V::splat(isa, inverse));
            let (mut level, mut tilt) = (V::splat(isa, 0.0), V::splat(isa, 0.0));
            for c in (0..whole).step_by(LANES) {
                let (d, normal) = (V::load(isa, &dy[c..]), V::load(isa, &x[c..]).sub(centre).mul(factor));
                let g = d.mul(V::load(isa, &of.scale[c..]));
                level = level.add(g);
                tilt = tilt.add(g.mul(normal));
                V::load(isa, &scales[c..]).add(d.mul(normal)).store(&mut scales[c..]);
                V::load(isa, &shifts[c..]).add(d).store(&mut shifts[c..]);
            }
            let (mut level, mut tilt) = (total(level), total(tilt));
            for c in whole..width {
                let normal = (x[c] - mean) * inverse;
                let g = dy[c] * of.scale[c];
                level += g;
                tilt += g * normal;
                scales[c] += dy[c] * normal;
                shifts[c] += dy[c];
            }
            (level, tilt) = (level / width as f32, tilt / width as f32);
            let (levels, tilts) = (V::splat(isa, level), V::splat(isa, tilt));
            for c in (0..whole).step_by(LANES) {
                let normal = V::load(isa, &x[c..]).sub(centre).mul(factor);
                let g = V::load(isa, &dy[c..]).mul(V::load(isa, &of.scale[c..]));
                g.sub(levels).sub(normal.mul(tilts)).mul(factor).store(&mut dx[c..]);
            }
            for c in whole..width {
                let normal = (x[c] - mean) * inverse;
                dx[c] = (dy[c] * of.scale[c] - level - normal * tilt) * inverse;
            }
        }
    }
}

/// The gradients of the data, and of scale and shift where they are wanted.
pub fn gradients(cores: &Cores, of: &Normalized, dx: &mut [f32], dscale: Option<&mut [f32]>, dshift: Option<&mut [f32]>) {
    let width = of.scale.len();
    let rows = dx.len() / width.max(1);
    assert!(width > 0 && dx.len() == rows * width && of.dy.len() == dx.len() && of.x.len() == dx.len());
    assert!(of.mean.len() == rows && of.inverse.len() == rows);
    let (out, isa) = (DisjointSlice::new(dx), cores.isa());
    let partial = partial_sums(cores, rows, width, |range, scales, shifts| {
        // SAFETY: every range has its own rows.
        let dx = unsafe { out.part(range.start * width, range.len() * width) };
        gradients_of(isa, of, range, dx, scales, shifts);
    });
    for (at, to) in [dscale, dshift].into_iter().enumerate() {
        for (c, to) in to.into_iter().flatten().enumerate() {
            *to = partial.chunks_exact(2 * width).map(|part| f64::from(part[at * width + c])).sum::<f64>() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::cases::cores;
    use super::*;

    /// By the definition in double precision, for rows that fill no register and for several tasks; the same for any number of threads.
    #[test]
    fn gradients_are_their_definition() {
        let wave = |n: usize, seed: f64| (0..n).map(|i| ((i as f64 * 0.731 + seed).sin() * 1.7 + 0.3) as f32).collect::<Vec<f32>>();
        for (rows, width) in [(1, 1), (3, 7), (10, 16), (700, 96), (37, 133)] {
            let (dy, x, scale) = (wave(rows * width, 0.1), wave(rows * width, 2.0), wave(width, 4.0));
            let of64 = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
            let (dy64, x64, scale64) = (of64(&dy), of64(&x), of64(&scale));
            let (mut mean, mut inverse) = (vec![], vec![]);
            for row in x64.chunks(width) {
                let m = row.iter().sum::<f64>() / width as f64;
                let v = row.iter().map(|x| (x - m).powi(2)).sum::<f64>() / width as f64;
                mean.push(m);
                inverse.push(1.0 / (v + 1e-3).sqrt());
            }
            let (mut dx0, mut ds0, mut db0) = (vec![0.0; rows * width], vec![0.0; width], vec![0.0; width]);
            for r in 0..rows {
                let normal = |c: usize| (x64[r * width + c] - mean[r]) * inverse[r];
                let g = |c: usize| dy64[r * width + c] * scale64[c];
                let level = (0..width).map(g).sum::<f64>() / width as f64;
                let tilt = (0..width).map(|c| g(c) * normal(c)).sum::<f64>() / width as f64;
                for c in 0..width {
                    dx0[r * width + c] = inverse[r] * (g(c) - level - normal(c) * tilt);
                    ds0[c] += dy64[r * width + c] * normal(c);
                    db0[c] += dy64[r * width + c];
                }
            }
            let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
            let (mean, inverse) = (narrow(&mean), narrow(&inverse));
            let of = Normalized { dy: &dy, x: &x, scale: &scale, inverse: &inverse, mean: &mean };
            for isa in Isa::available() {
                let run = |threads: usize| {
                    let (mut dx, mut ds, mut db) = (vec![f32::NAN; rows * width], vec![f32::NAN; width], vec![f32::NAN; width]);
                    gradients(&cores(threads, isa), &of, &mut dx, Some(&mut ds), Some(&mut db));
                    (dx, ds, db)
                };
                let (dx, ds, db) = run(1);
                for (what, found, right) in [("dx", &dx, &dx0), ("dscale", &ds, &ds0), ("dshift", &db, &db0)] {
                    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
                    let away = norm(&mut found.iter().zip(right).map(|(a, b)| f64::from(*a) - b));
                    let size = norm(&mut right.iter().copied()).max(norm(&mut dy64.iter().copied()) * 1e-3);
                    assert!(away <= 2e-6 * size, "{what} of {rows}×{width}, {isa:?}: {:e}", away / size);
                }
                assert_eq!(run(2), (dx, ds, db));
            }
        }
    }
}
