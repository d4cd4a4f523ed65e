//! Per-channel work on rows of channels: statistics, affine maps, their gradients.

use super::lanes::{LANES, Lanes, for_isa};
use super::product::Epilogue;
use super::shared::Shared;
use super::{Isa, Pool};

/// Rows of one task, and of one partial sum.
const ROWS: usize = 512;

/// Sums over rows of what `add` does with each range of rows, per channel in float64; the ranges' sums are added in order.
fn summed<const N: usize>(
    pool: &dyn Pool,
    rows: usize,
    channels: usize,
    add: &(dyn Fn(std::ops::Range<usize>, &mut [f32]) + Sync),
) -> [Vec<f64>; N] {
    let parts = rows.div_ceil(ROWS).max(1);
    let mut partial = vec![0.0f32; parts * N * channels];
    let shared = Shared::new(&mut partial);
    pool.run(parts, &|part| {
        // SAFETY: every task has its own sums.
        let sums = unsafe { shared.part(part * N * channels, N * channels) };
        add(part * ROWS..((part + 1) * ROWS).min(rows), sums);
    });
    std::array::from_fn(|which| {
        (0..channels).map(|c| (0..parts).map(|part| partial[(part * N + which) * channels + c] as f64).sum()).collect()
    })
}

for_isa! {
    /// Adds the rows' elements to `sums`.
    fn add_rows<V>(rows: &[f32], channels: usize, sums: &mut [f32]) {
        for first in (0..channels / LANES * LANES).step_by(LANES) {
            let mut sum = V::splat(0.0);
            for row in rows.chunks_exact(channels) {
                sum = sum.add(V::load(&row[first..]));
            }
            sum.store(&mut sums[first..]);
        }
        for (c, sum) in sums.iter_mut().enumerate().take(channels).skip(channels / LANES * LANES) {
            *sum = rows.iter().skip(c).step_by(channels).sum();
        }
    }
}

for_isa! {
    /// Sums of `(x − mean)·(y − other)`.
    fn add_products<V>(x: &[f32], mean: &[f32], y: &[f32], other: &[f32], channels: usize, sums: &mut [f32]) {
        for first in (0..channels / LANES * LANES).step_by(LANES) {
            let (mean, other) = (V::load(&mean[first..]), V::load(&other[first..]));
            let mut sum = V::splat(0.0);
            for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact(channels)) {
                sum = sum.add(V::load(&x[first..]).sub(mean).mul(V::load(&y[first..]).sub(other)));
            }
            sum.store(&mut sums[first..]);
        }
        for c in channels / LANES * LANES..channels {
            let pairs = x.iter().skip(c).step_by(channels).zip(y.iter().skip(c).step_by(channels));
            sums[c] = pairs.map(|(x, y)| (x - mean[c]) * (y - other[c])).sum();
        }
    }
}

/// Mean and biased variance of every channel over all rows.
pub fn moments(pool: &dyn Pool, isa: Isa, x: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = x.len() / channels;
    let count = rows.max(1) as f64;
    let [sums] = summed::<1>(pool, rows, channels, &|r, sums| add_rows(isa, &x[r.start * channels..r.end * channels], channels, sums));
    let mean: Vec<f32> = sums.iter().map(|s| (s / count) as f32).collect();
    let [squares] = summed::<1>(pool, rows, channels, &|r, sums| {
        let x = &x[r.start * channels..r.end * channels];
        add_products(isa, x, &mean, x, &mean, channels, sums);
    });
    (mean, squares.iter().map(|s| (s / count) as f32).collect())
}

/// Sums over rows of `dy`, and of `dy·(x − mean)`.
pub fn cotangent_sums(pool: &dyn Pool, isa: Isa, dy: &[f32], x: &[f32], mean: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let channels = mean.len();
    let zeros = vec![0.0; channels];
    let [sums, products] = summed::<2>(pool, dy.len() / channels, channels, &|r, sums| {
        let (dy, x) = (&dy[r.start * channels..r.end * channels], &x[r.start * channels..r.end * channels]);
        let (first, second) = sums.split_at_mut(channels);
        add_rows(isa, dy, channels, first);
        add_products(isa, x, mean, dy, &zeros, channels, second);
    });
    (sums, products)
}

/// Sums over rows.
pub fn column_sums(pool: &dyn Pool, isa: Isa, rows: &[f32], channels: usize, out: &mut [f32]) {
    let [sums] = summed::<1>(pool, rows.len() / channels, channels, &|r, sums| {
        add_rows(isa, &rows[r.start * channels..r.end * channels], channels, sums);
    });
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
}

/// Per channel: `(x − centre)·factor + offset`, and with a second input `+ (other − centre of that)·tilt`. Centres are subtracted first,
/// since a channel's mean may be much larger than its deviation.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    pub x: &'a [f32],
    pub centre: &'a [f32],
    pub factor: &'a [f32],
    pub offset: &'a [f32],
    /// A second input with its centre and factor.
    pub other: Option<(&'a [f32], &'a [f32], &'a [f32])>,
}

for_isa! {
    fn affine_rows<V>(map: &Affine, from: usize, epilogue: &Epilogue, out: &mut [f32]) {
        let channels = map.factor.len();
        let whole = channels / LANES * LANES;
        for (r, row) in out.chunks_exact_mut(channels).enumerate() {
            let at = from + r * channels;
            for first in (0..whole).step_by(LANES) {
                let v = V::load(&map.x[at + first..]).sub(V::load(&map.centre[first..]));
                let mut v = v.mul(V::load(&map.factor[first..])).add(V::load(&map.offset[first..]));
                if let Some((other, centre, tilt)) = map.other {
                    let moved = V::load(&other[at + first..]).sub(V::load(&centre[first..]));
                    v = v.add(moved.mul(V::load(&tilt[first..])));
                }
                epilogue.lanes(v, &mut row[first..], at + first, first);
            }
            for c in whole..channels {
                let mut v = (map.x[at + c] - map.centre[c]) * map.factor[c] + map.offset[c];
                if let Some((other, centre, tilt)) = map.other {
                    v += (other[at + c] - centre[c]) * tilt[c];
                }
                epilogue.finish(&[v], &mut row[c..c + 1], at + c, c);
            }
        }
    }
}

/// The affine map of every row, then the epilogue.
pub fn affine(pool: &dyn Pool, isa: Isa, map: &Affine, epilogue: &Epilogue, out: &mut [f32]) {
    let channels = map.factor.len();
    let rows = out.len() / channels;
    assert!(map.x.len() >= out.len() && map.offset.len() == channels && map.centre.len() == channels);
    let out = Shared::new(out);
    pool.run(rows.div_ceil(ROWS), &|task| {
        let count = ROWS.min(rows - task * ROWS);
        // SAFETY: every task has its own rows.
        let part = unsafe { out.part(task * ROWS * channels, count * channels) };
        affine_rows(isa, map, task * ROWS * channels, epilogue, part);
    });
}
