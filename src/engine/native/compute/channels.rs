//! Channels of images joined, cut apart and brought into another order. A pixel is a row of channels, so all of it is copies within rows.

use super::disjoint_slice::DisjointSlice;
use super::{Cores, Element};
use std::ops::Range;

/// Elements of a task.
const TASK: usize = 1 << 15;

/// Ranges of so many rows of a width, as tasks; what they give depends on no other.
fn by_rows(cores: &Cores, rows: usize, channels: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
    let step = (TASK / channels.max(1)).max(1);
    cores.run(rows.div_ceil(step), &|task| work(task * step..((task + 1) * step).min(rows)));
}

/// Rows with their parts side by side: of each its elements, and how many channels it has.
pub fn join<E: Element>(cores: &Cores, parts: &[(&[E], usize)], y: &mut [E]) {
    let channels: usize = parts.iter().map(|part| part.1).sum();
    let rows = y.len() / channels.max(1);
    assert!(y.len() == rows * channels && parts.iter().all(|(x, width)| x.len() == rows * width));
    let out = DisjointSlice::new(y);
    by_rows(cores, rows, channels, &|range| {
        // SAFETY: every task has its own rows.
        let to = unsafe { out.part(range.start * channels, range.len() * channels) };
        let mut first = 0;
        for &(x, width) in parts.iter().filter(|part| part.1 > 0) {
            let from = x[range.start * width..range.end * width].chunks_exact(width);
            to.chunks_exact_mut(channels).zip(from).for_each(|(to, from)| to[first..first + width].copy_from_slice(from));
            first += width;
        }
    });
}

/// Parts of rows: of each its first channel, how many it has, and where it goes.
pub fn cut<E: Element>(cores: &Cores, x: &[E], channels: usize, parts: Vec<(usize, usize, &mut [E])>) {
    let rows = x.len() / channels.max(1);
    assert!(parts.iter().all(|(first, width, y)| first + width <= channels && y.len() == rows * width));
    let parts: Vec<(usize, usize, DisjointSlice<E>)> =
        parts.into_iter().map(|(first, width, y)| (first, width, DisjointSlice::new(y))).collect();
    by_rows(cores, rows, channels, &|range| {
        for (first, width, out) in parts.iter().filter(|part| part.1 > 0) {
            // SAFETY: every task has its own rows.
            let to = unsafe { out.part(range.start * width, range.len() * width) };
            let from = x[range.start * channels..range.end * channels].chunks_exact(channels);
            to.chunks_exact_mut(*width).zip(from).for_each(|(to, from)| to.copy_from_slice(&from[*first..first + width]));
        }
    });
}

/// Rows whose channel `i` is channel `order[i]` of `x`.
pub fn shuffle<E: Element>(cores: &Cores, x: &[E], order: &[usize], y: &mut [E]) {
    let channels = order.len();
    assert!(channels > 0 && x.len() == y.len() && x.len().is_multiple_of(channels) && order.iter().all(|&c| c < channels));
    let out = DisjointSlice::new(y);
    by_rows(cores, x.len() / channels, channels, &|range| {
        // SAFETY: every task has its own rows.
        let to = unsafe { out.part(range.start * channels, range.len() * channels) };
        let from = x[range.start * channels..range.end * channels].chunks_exact(channels);
        to.chunks_exact_mut(channels).zip(from).for_each(|(to, from)| to.iter_mut().zip(order).for_each(|(to, &c)| *to = from[c]));
    });
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::super::cases::cores;
    use super::*;

    /// By the definition, for rows that fill no task and for more than one task.
    #[test]
    fn channels_come_where_they_belong() {
        let cores = cores(2, Isa::Portable);
        for (rows, widths) in [(1, vec![1]), (7, vec![3, 5, 1]), (5000, vec![16, 0, 8]), (40, vec![900, 300])] {
            let channels: usize = widths.iter().sum();
            let x: Vec<f32> = (0..rows * channels).map(|i| i as f32).collect();
            let mut parts: Vec<Vec<f32>> = widths.iter().map(|w| vec![f32::NAN; rows * w]).collect();
            let firsts: Vec<usize> = widths.iter().scan(0, |at, w| Some(std::mem::replace(at, *at + w))).collect();
            let given = parts.iter_mut().enumerate().map(|(i, y)| (firsts[i], widths[i], y.as_mut_slice())).collect();
            cut(&cores, &x, channels, given);
            for (i, part) in parts.iter().enumerate() {
                let right = |at: usize| x[at / widths[i] * channels + firsts[i] + at % widths[i]];
                assert!(part.iter().enumerate().all(|(at, v)| *v == right(at)), "{rows} {widths:?}");
            }
            let mut again = vec![f32::NAN; x.len()];
            join(&cores, &parts.iter().zip(&widths).map(|(p, w)| (p.as_slice(), *w)).collect::<Vec<_>>(), &mut again);
            assert_eq!(again, x);
            let order: Vec<usize> = (0..channels).map(|c| (c * 7 + 3) % channels).collect();
            shuffle(&cores, &x, &order, &mut again);
            assert!(again.iter().enumerate().all(|(at, v)| *v == x[at / channels * channels + order[at % channels]]));
        }
    }
}
