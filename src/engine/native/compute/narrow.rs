//! Convolutions in groups of one (depthwise), two, four or eight channels: sixteen channels at a time, straight from the definition. A channel meets
//! each of its group by a shuffle within the sixteen.

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::epilogue::Epilogue;
use super::for_isa::for_isa;
use super::lanes::{LANES, Lanes};
use super::{ConvGeometry, Cores, Element};

/// Sums of a kernel's line, for each tap and channel of a group, that are held at once.
const HELD: usize = 32;
/// Parts of the weights' gradient, which are added in their order.
const PARTS: usize = 16;

/// Whether this form computes the convolution.
pub fn covers(conv: &ConvGeometry) -> bool {
    let depth = conv.depth();
    let fit = depth == 1 || matches!(depth, 2 | 4 | 8) && conv.channels.is_multiple_of(LANES);
    conv.groups > 1 && depth == conv.width() && fit && conv.kernel[1] * depth <= HELD
}

/// What the positions along one axis meet: for each, a range of `pairs` of a tap and a position of the other side.
struct Axis {
    pairs: Vec<(usize, usize)>,
    ranges: Vec<std::ops::Range<usize>>,
}

impl Axis {
    fn new(positions: usize, taps: usize, met: impl Fn(usize, usize) -> Option<usize>) -> Axis {
        let mut axis = Axis { pairs: vec![], ranges: Vec::with_capacity(positions) };
        for at in 0..positions {
            let start = axis.pairs.len();
            axis.pairs.extend((0..taps).filter_map(|tap| met(at, tap).map(|other| (tap, other))));
            axis.ranges.push(start..axis.pairs.len());
        }
        axis
    }

    /// Output positions and the inputs that they meet.
    fn forward(conv: &ConvGeometry, axis: usize) -> Axis {
        Axis::new(conv.output[axis], conv.kernel[axis], |at, tap| conv.source(axis, at, tap))
    }

    /// Input positions and the outputs that they meet.
    fn backward(conv: &ConvGeometry, axis: usize) -> Axis {
        Axis::new(conv.input[axis], conv.kernel[axis], |at, tap| conv.target(axis, at, tap))
    }

    #[inline(always)]
    fn at(&self, position: usize) -> &[(usize, usize)] {
        &self.pairs[self.ranges[position].clone()]
    }
}

/// One side of the convolution made from the other.
struct Job<'a, E> {
    from: &'a [E],
    /// Pixels of a line, and of an image, of `from`.
    line: usize,
    image: usize,
    /// `[sixteen channels][tap][channel of the group]`, sixteen each, and of channels that are left `[tap]`.
    weights: &'a [f32],
    /// Taps of a line, and all.
    taps: [usize; 2],
    channels: usize,
    /// Channels of a group.
    depth: usize,
    rows: Axis,
    columns: Axis,
    epilogue: &'a Epilogue<'a, E>,
}

for_isa! {
    /// One line of one image: `out` are its pixels, the first of which is element `start` of all.
    fn line_of<V, E>(isa, job: &Job<E>, n: usize, row: usize, out: &mut [E], start: usize) {
        match job.depth {
            1 => line_in_groups::<V, E, 1>(isa, job, n, row, out, start),
            2 => line_in_groups::<V, E, 2>(isa, job, n, row, out, start),
            4 => line_in_groups::<V, E, 4>(isa, job, n, row, out, start),
            _ => line_in_groups::<V, E, 8>(isa, job, n, row, out, start),
        }
    }
}

#[inline(always)]
fn line_in_groups<V: Lanes, E: Element, const D: usize>(isa: V::Proof, job: &Job<E>, n: usize, row: usize, out: &mut [E], start: usize) {
    let (channels, width) = (job.channels, job.columns.ranges.len());
    let whole = channels / LANES * LANES;
    let image = n * job.image;
    let (filters, rest) = job.weights.split_at(whole * job.taps[1] * D);
    let (filters, _) = filters.as_chunks::<LANES>();
    for c in (0..whole).step_by(LANES) {
        let filters = &filters[c / LANES * job.taps[1] * D..][..job.taps[1] * D];
        for x in 0..width {
            let mut sums = [V::splat(isa, 0.0); D];
            for &(ky, sy) in job.rows.at(row) {
                for &(kx, sx) in job.columns.at(x) {
                    let value = E::load::<V>(isa, &job.from[(image + sy * job.line + sx) * channels + c..]);
                    let weights = &filters[(ky * job.taps[0] + kx) * D..][..D];
                    for nth in 0..D {
                        sums[nth] = value.of_group::<D>(nth).mul_add(V::load(isa, &weights[nth]), sums[nth]);
                    }
                }
            }
            let at = x * channels + c;
            let sum = sums[1..].iter().fold(sums[0], |sum, other| sum.add(*other));
            job.epilogue.lanes(sum, &mut out[at..], start + at, c);
        }
    }
    // Wider groups have whole sixteens.
    for c in whole..channels {
        for x in 0..width {
            let mut sum = 0.0;
            for &(ky, sy) in job.rows.at(row) {
                for &(kx, sx) in job.columns.at(x) {
                    sum += job.from[(image + sy * job.line + sx) * channels + c].to_f32()
                        * rest[(c - whole) * job.taps[1] + ky * job.taps[0] + kx];
                }
            }
            let at = x * channels + c;
            job.epilogue.finish(&[sum], &mut out[at..at + 1], start + at, c);
        }
    }
}

/// The convolution `x → y`, or, `turned_over`, of the cotangents to the input's gradient. `conv` is always the forward one.
pub fn convolve<E: Element>(
    cores: &Cores,
    conv: &ConvGeometry,
    turned_over: bool,
    x: &[E],
    w: &[f32],
    y: &mut [E],
    epilogue: &Epilogue<E>,
) {
    let (from, to) = if turned_over { (conv.output, conv.input) } else { (conv.input, conv.output) };
    let (channels, taps) = (conv.channels, conv.taps());
    assert!(x.len() >= conv.images * from[0] * from[1] * channels && y.len() >= conv.images * to[0] * to[1] * channels);
    let axis = |axis: usize| if turned_over { Axis::backward(conv, axis) } else { Axis::forward(conv, axis) };
    let depth = conv.depth();
    let mut weights = vec![0.0; w.len()];
    for (filter, taps_of) in w.chunks_exact(taps).enumerate() {
        let (o, i) = (filter / depth, filter % depth);
        // The channel that has the sum, and the number in its group of the one that it meets.
        let (channel, nth) = if turned_over { (o / depth * depth + i, o % depth) } else { (o, i) };
        let (block, lane) = (channel / LANES, channel % LANES);
        let place = |tap: usize| match channel < channels / LANES * LANES {
            true => ((block * taps + tap) * depth + nth) * LANES + lane,
            false => channel * taps + tap,
        };
        taps_of.iter().enumerate().for_each(|(tap, &v)| weights[place(tap)] = E::factor(v));
    }
    let job = Job {
        from: x,
        line: from[1],
        image: from[0] * from[1],
        weights: &weights,
        taps: [conv.kernel[1], taps],
        channels,
        depth,
        rows: axis(0),
        columns: axis(1),
        epilogue,
    };
    let (out, len, isa) = (DisjointSlice::new(y), to[1] * channels, cores.isa());
    cores.run(conv.images * to[0], &|task| {
        // SAFETY: every task has its own line.
        let line = unsafe { out.part(task * len, len) };
        line_of(isa, &job, task / to[0], task % to[0], line, task * len);
    });
}

/// One line of output pixels with the input.
struct Line<'a, E> {
    x: &'a [E],
    dy: &'a [E],
    channels: usize,
    /// Channels of a group.
    depth: usize,
    /// Pixels of a line of `x`; the image begins at the first.
    line: usize,
    rows: &'a [(usize, usize)],
    columns: &'a Axis,
    taps: usize,
}

for_isa! {
    /// Adds a line's products to `sums`, `[tap][channel of the group][channel]`.
    fn add_products<V, E>(isa, job: &Line<E>, sums: &mut [f32]) {
        match job.depth {
            1 => add_in_groups::<V, E, 1>(isa, job, sums),
            2 => add_in_groups::<V, E, 2>(isa, job, sums),
            4 => add_in_groups::<V, E, 4>(isa, job, sums),
            _ => add_in_groups::<V, E, 8>(isa, job, sums),
        }
    }
}

#[inline(always)]
fn add_in_groups<V: Lanes, E: Element, const D: usize>(isa: V::Proof, job: &Line<E>, sums: &mut [f32]) {
    let channels = job.channels;
    let whole = channels / LANES * LANES;
    for &(ky, sy) in job.rows {
        for c in (0..whole).step_by(LANES) {
            let mut held = [V::splat(isa, 0.0); HELD];
            for (x, dy) in job.dy.chunks_exact(channels).enumerate() {
                let dy = E::load::<V>(isa, &dy[c..]);
                for &(kx, sx) in job.columns.at(x) {
                    let value = E::load::<V>(isa, &job.x[(sy * job.line + sx) * channels + c..]);
                    for (nth, sum) in held[kx * D..][..D].iter_mut().enumerate() {
                        *sum = dy.mul_add(value.of_group::<D>(nth), *sum);
                    }
                }
            }
            for (at, held) in held.into_iter().enumerate().take(job.taps * D) {
                let to = &mut sums[(ky * job.taps * D + at) * channels + c..];
                V::load(isa, to).add(held).store(to);
            }
        }
        // Wider groups have whole sixteens.
        for c in whole..channels {
            for (x, dy) in job.dy.chunks_exact(channels).enumerate() {
                for &(kx, sx) in job.columns.at(x) {
                    sums[(ky * job.taps + kx) * channels + c] += dy[c].to_f32() * job.x[(sy * job.line + sx) * channels + c].to_f32();
                }
            }
        }
    }
}

/// The gradient of the weights, `[C, channels of a group, kh, kw]`, and of the bias where `db` is given.
pub fn weight_grad<E: Element>(cores: &Cores, conv: &ConvGeometry, x: &[E], dy: &[E], dw: &mut [f32], db: Option<&mut [f32]>) {
    let (channels, taps, depth) = (conv.channels, conv.taps(), conv.depth());
    let size = taps * depth * channels;
    let (rows, columns) = (Axis::forward(conv, 0), Axis::forward(conv, 1));
    let lines = conv.images * conv.output[0];
    let len = conv.output[1] * channels;
    assert!(x.len() >= conv.images * conv.input_pixels() * channels && dy.len() >= lines * len);
    let (parts, isa) = (PARTS.min(lines), cores.isa());
    with_scratch(parts * size, |buffer| {
        buffer.fill(0.0);
        let shared = DisjointSlice::new(buffer);
        cores.run(parts, &|part| {
            // SAFETY: every task has its own sums.
            let sums = unsafe { shared.part(part * size, size) };
            for line in part * lines / parts..(part + 1) * lines / parts {
                let image = &x[line / conv.output[0] * conv.input_pixels() * channels..][..conv.input_pixels() * channels];
                let (dy, rows) = (&dy[line * len..][..len], rows.at(line % conv.output[0]));
                let job = Line { x: image, dy, channels, depth, line: conv.input[1], rows, columns: &columns, taps: conv.kernel[1] };
                add_products(isa, &job, sums);
            }
        });
        for (filter, taps_of) in dw.chunks_exact_mut(taps).enumerate() {
            let (c, nth) = (filter / depth, filter % depth);
            for (tap, value) in taps_of.iter_mut().enumerate() {
                *value = buffer.chunks_exact(size).map(|part| part[(tap * depth + nth) * channels + c]).sum();
            }
        }
    });
    if let Some(db) = db {
        super::norm::column_sums(cores, &dy[..lines * len], channels, db);
    }
}
