//! Per-channel work on rows of channels: statistics, affine maps, their gradients.

use super::disjoint_slice::DisjointSlice;
use super::epilogue::Epilogue;
use super::for_isa::for_isa;
use super::lanes::{LANES, Lanes};
use super::{Cores, Element};
use std::ops::Range;

/// Elements of one task: they stay in a core's caches while they are read twice.
const CHUNK: usize = 1 << 15;

/// Rows of one task, and of one partial sum.
fn rows_of_task(channels: usize) -> usize {
    (CHUNK / channels.max(1)).clamp(1, 512)
}

/// Two sums per channel of each range of rows, by `add`, as `[range][2][channel]`.
pub fn partial_sums(cores: &Cores, rows: usize, channels: usize, add: impl Fn(Range<usize>, &mut [f32], &mut [f32]) + Sync) -> Vec<f32> {
    let step = rows_of_task(channels);
    let parts = rows.div_ceil(step);
    let mut partial = vec![0.0f32; parts * 2 * channels];
    let shared = DisjointSlice::new(&mut partial);
    cores.run(parts, &|part| {
        // SAFETY: every task has its own sums.
        let (first, second) = unsafe { shared.part(part * 2 * channels, 2 * channels) }.split_at_mut(channels);
        add(part * step..((part + 1) * step).min(rows), first, second);
    });
    partial
}

/// Vectors of channels that are summed side by side, so that whole stretches of a row are read.
const SIDE: usize = 4;

/// Sums of `N` vectors of channels: of `x`, and of `(x − its mean over these rows)²`.
#[inline(always)]
fn moments_of<V: Lanes, E: Element, const N: usize>(
    isa: V::Proof,
    x: &[E],
    channels: usize,
    first: usize,
    sums: &mut [f32],
    squares: &mut [f32],
) {
    let mut sum = [V::splat(isa, 0.0); N];
    for row in x.chunks_exact(channels) {
        let row = &row[first..first + N * LANES];
        for n in 0..N {
            sum[n] = sum[n].add(E::load::<V>(isa, &row[n * LANES..]));
        }
    }
    let share = channels as f32 / x.len() as f32;
    let mut square = [V::splat(isa, 0.0); N];
    for row in x.chunks_exact(channels) {
        let row = &row[first..first + N * LANES];
        for n in 0..N {
            let d = E::load::<V>(isa, &row[n * LANES..]).sub(sum[n].scaled(share));
            square[n] = square[n].add(d.mul(d));
        }
    }
    for n in 0..N {
        sum[n].store(&mut sums[first + n * LANES..]);
        square[n].store(&mut squares[first + n * LANES..]);
    }
}

for_isa! {
    fn add_moments<V, E>(isa, x: &[E], channels: usize, sums: &mut [f32], squares: &mut [f32]) {
        let (wide, whole) = (channels / (SIDE * LANES) * (SIDE * LANES), channels / LANES * LANES);
        for first in (0..wide).step_by(SIDE * LANES) {
            moments_of::<V, E, SIDE>(isa, x, channels, first, sums, squares);
        }
        for first in (wide..whole).step_by(LANES) {
            moments_of::<V, E, 1>(isa, x, channels, first, sums, squares);
        }
        for c in whole..channels {
            sums[c] = x.iter().skip(c).step_by(channels).map(|v| v.to_f32()).sum();
            let mean = sums[c] * channels as f32 / x.len() as f32;
            squares[c] = x.iter().skip(c).step_by(channels).map(|v| (v.to_f32() - mean) * (v.to_f32() - mean)).sum();
        }
    }
}

/// Mean and biased variance of every channel over all rows. Rows are read once: the ranges' own means and squares are brought
/// together as Chan, Golub and LeVeque do (Updating formulae and a pairwise algorithm for computing sample variances, 1979).
pub fn moments<E: Element>(cores: &Cores, x: &[E], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = x.len() / channels;
    let (count, step, isa) = (rows.max(1) as f64, rows_of_task(channels), cores.isa());
    let partial = partial_sums(cores, rows, channels, |r, sums, squares| {
        add_moments(isa, &x[r.start * channels..r.end * channels], channels, sums, squares);
    });
    let parts = || partial.chunks_exact(2 * channels).map(|part| part.split_at(channels));
    let mut mean = vec![0.0f64; channels];
    for (sums, _) in parts() {
        mean.iter_mut().zip(sums).for_each(|(mean, &sum)| *mean += sum as f64 / count);
    }
    let mut variance = vec![0.0f64; channels];
    for (nth, (sums, squares)) in parts().enumerate() {
        let own = step.min(rows - nth * step) as f64;
        for c in 0..channels {
            let away = sums[c] as f64 / own - mean[c];
            variance[c] += (squares[c] as f64 + own * away * away) / count;
        }
    }
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    (narrow(mean), narrow(variance))
}

/// Rows of cotangents, and of the input with its channels' means.
struct Cotangents<'a, E> {
    dy: &'a [E],
    x: &'a [E],
    mean: &'a [f32],
}

/// Sums of `N` vectors of channels: of `dy`, and of `dy·(x − mean)`.
#[inline(always)]
fn cotangents_of<V: Lanes, E: Element, const N: usize>(
    isa: V::Proof,
    rows: &Cotangents<E>,
    first: usize,
    sums: &mut [f32],
    products: &mut [f32],
) {
    let Cotangents { dy, x, mean } = *rows;
    let (mut sum, mut product, mut centre) = ([V::splat(isa, 0.0); N], [V::splat(isa, 0.0); N], [V::splat(isa, 0.0); N]);
    for n in 0..N {
        centre[n] = V::load(isa, &mean[first + n * LANES..]);
    }
    for (dy, x) in dy.chunks_exact(mean.len()).zip(x.chunks_exact(mean.len())) {
        let (dy, x) = (&dy[first..first + N * LANES], &x[first..first + N * LANES]);
        for n in 0..N {
            let d = E::load::<V>(isa, &dy[n * LANES..]);
            sum[n] = sum[n].add(d);
            product[n] = product[n].add(E::load::<V>(isa, &x[n * LANES..]).sub(centre[n]).mul(d));
        }
    }
    for n in 0..N {
        sum[n].store(&mut sums[first + n * LANES..]);
        product[n].store(&mut products[first + n * LANES..]);
    }
}

for_isa! {
    fn add_cotangents<V, E>(isa, rows: &Cotangents<E>, sums: &mut [f32], products: &mut [f32]) {
        let Cotangents { dy, x, mean } = *rows;
        let channels = mean.len();
        let (wide, whole) = (channels / (SIDE * LANES) * (SIDE * LANES), channels / LANES * LANES);
        for first in (0..wide).step_by(SIDE * LANES) {
            cotangents_of::<V, E, SIDE>(isa, rows, first, sums, products);
        }
        for first in (wide..whole).step_by(LANES) {
            cotangents_of::<V, E, 1>(isa, rows, first, sums, products);
        }
        for c in whole..channels {
            let pairs = || dy.iter().skip(c).step_by(channels).zip(x.iter().skip(c).step_by(channels));
            sums[c] = pairs().map(|(dy, _)| dy.to_f32()).sum();
            products[c] = pairs().map(|(dy, x)| dy.to_f32() * (x.to_f32() - mean[c])).sum();
        }
    }
}

/// Sums over rows of `dy`, and of `dy·(x − mean)`.
pub fn cotangent_sums<E: Element>(cores: &Cores, dy: &[E], x: &[E], mean: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (channels, isa) = (mean.len(), cores.isa());
    let partial = partial_sums(cores, dy.len() / channels, channels, |r, sums, products| {
        let (dy, x) = (&dy[r.start * channels..r.end * channels], &x[r.start * channels..r.end * channels]);
        add_cotangents(isa, &Cotangents { dy, x, mean }, sums, products);
    });
    let mut both = vec![0.0f64; 2 * channels];
    for part in partial.chunks_exact(2 * channels) {
        both.iter_mut().zip(part).for_each(|(sum, &v)| *sum += v as f64);
    }
    let products = both.split_off(channels);
    (both, products)
}

/// Sums over rows.
pub fn column_sums<E: Element>(cores: &Cores, rows: &[E], channels: usize, out: &mut [f32]) {
    let zeros = vec![0.0; channels];
    let (sums, _) = cotangent_sums(cores, rows, rows, &zeros);
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as f32);
}

/// Per channel: `(x − centre)·factor + offset`, and with a second input `+ (other − centre of that)·tilt`. Centres are subtracted first,
/// since a channel's mean may be much larger than its deviation.
#[derive(Clone, Copy)]
pub struct Affine<'a, E> {
    pub x: &'a [E],
    pub centre: &'a [f32],
    pub factor: &'a [f32],
    pub offset: &'a [f32],
    /// A second input with its centre and factor.
    pub other: Option<(&'a [E], &'a [f32], &'a [f32])>,
}

for_isa! {
    fn affine_rows<V, E>(isa, map: &Affine<E>, from: usize, epilogue: &Epilogue<E>, out: &mut [E]) {
        let channels = map.factor.len();
        let whole = channels / LANES * LANES;
        for (r, row) in out.chunks_exact_mut(channels).enumerate() {
            let at = from + r * channels;
            for first in (0..whole).step_by(LANES) {
                let v = E::load::<V>(isa, &map.x[at + first..]).sub(V::load(isa, &map.centre[first..]));
                let mut v = v.mul(V::load(isa, &map.factor[first..])).add(V::load(isa, &map.offset[first..]));
                if let Some((other, centre, tilt)) = map.other {
                    let moved = E::load::<V>(isa, &other[at + first..]).sub(V::load(isa, &centre[first..]));
                    v = v.add(moved.mul(V::load(isa, &tilt[first..])));
                }
                epilogue.lanes(v, &mut row[first..], at + first, first);
            }
            for c in whole..channels {
                let mut v = (map.x[at + c].to_f32() - map.centre[c]) * map.factor[c] + map.offset[c];
                if let Some((other, centre, tilt)) = map.other {
                    v += (other[at + c].to_f32() - centre[c]) * tilt[c];
                }
                epilogue.finish(&[v], &mut row[c..c + 1], at + c, c);
            }
        }
    }
}

/// The affine map of every row, then the epilogue. Rows are taken from each thread's last to its first: what was summed up
/// last is still in the caches.
pub fn affine<E: Element>(cores: &Cores, map: &Affine<E>, epilogue: &Epilogue<E>, out: &mut [E]) {
    let channels = map.factor.len();
    let rows = out.len() / channels;
    assert!(map.x.len() >= out.len() && map.offset.len() == channels && map.centre.len() == channels);
    let out = DisjointSlice::new(out);
    let (step, isa) = (rows_of_task(channels), cores.isa());
    cores.run_back(rows.div_ceil(step), &|task| {
        let count = step.min(rows - task * step);
        // SAFETY: every task has its own rows.
        let part = unsafe { out.part(task * step * channels, count * channels) };
        affine_rows(isa, map, task * step * channels, epilogue, part);
    });
}
