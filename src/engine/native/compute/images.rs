//! Layouts and pooling of images.

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::for_isa::for_isa;
use super::gather::ConvGeometry;
use super::halves::convert;
use super::lanes::LANES;
use super::{Cores, Element, Isa};

/// Elements of one block of a transposition: both sides stay in the first-level cache.
const BLOCK: usize = 16;

/// `[N, rows, columns]` → `[N, columns, rows]`: images `[N, C, H·W]` to `[N, H·W, C]`, and back.
pub fn transposed<A: Element, B: Element>(cores: &Cores, images: usize, rows: usize, columns: usize, x: &[A], out: &mut [B]) {
    let stripes = columns.div_ceil(BLOCK);
    assert!(x.len() == images * rows * columns && out.len() == x.len());
    let out = DisjointSlice::new(out);
    cores.run(images * stripes, &|task| {
        let (n, first) = (task / stripes, task % stripes * BLOCK);
        let width = BLOCK.min(columns - first);
        let x = &x[n * rows * columns..][..rows * columns];
        // SAFETY: every task has its own rows of the result.
        let to = unsafe { out.part((n * columns + first) * rows, width * rows) };
        for start in (0..rows).step_by(BLOCK) {
            for r in start..(start + BLOCK).min(rows) {
                for (c, value) in x[r * columns + first..][..width].iter().enumerate() {
                    to[c * rows + r] = B::from_f32(value.to_f32());
                }
            }
        }
    });
}

/// Channels of one task.
const CHANNELS: usize = 64;

/// Calls `work` with every image, and the channels from `.1` on (how many: `.2`).
fn by_image(cores: &Cores, window: &ConvGeometry, work: &(dyn Fn(usize, usize, usize) + Sync)) {
    let blocks = window.channels.div_ceil(CHANNELS);
    cores.run(window.images * blocks, &|task| {
        let first = task % blocks * CHANNELS;
        work(task / blocks, first, CHANNELS.min(window.channels - first));
    });
}

/// The input pixels that a window meets, in row-major order.
fn pixels(window: &ConvGeometry, at: usize) -> impl Iterator<Item = usize> + '_ {
    let (oy, ox) = (at / window.output[1], at % window.output[1]);
    (0..window.taps()).filter_map(move |tap| {
        let y = window.source(0, oy, tap / window.kernel[1])?;
        let x = window.source(1, ox, tap % window.kernel[1])?;
        Some(y * window.input[1] + x)
    })
}

/// The largest element of every window; `window.features` is not used.
pub fn max_pool<E: Element>(cores: &Cores, window: &ConvGeometry, x: &[E], y: &mut [E]) {
    let channels = window.channels;
    let out = DisjointSlice::new(y);
    by_image(cores, window, &|n, first, count| {
        for at in 0..window.output_pixels() {
            // SAFETY: every task has its own image and channels.
            let to = unsafe { out.part((n * window.output_pixels() + at) * channels + first, count) };
            to.fill(E::from_f32(f32::NEG_INFINITY));
            for pixel in pixels(window, at) {
                let from = &x[(n * window.input_pixels() + pixel) * channels + first..][..count];
                to.iter_mut().zip(from).for_each(|(to, v)| *to = if v.to_f32() > to.to_f32() { *v } else { *to });
            }
        }
    });
}

/// Images of a pooling: its input, its output, the output's cotangent.
#[derive(Clone, Copy)]
struct Pooled<'a, E> {
    x: &'a [E],
    y: &'a [E],
    dy: &'a [E],
}

for_isa! {
    /// The gradient of one image's channels.
    fn max_pool_grad_of<V, E>(isa, window: &ConvGeometry, pooled: Pooled<E>, part: Part, sums: Sums) {
        let mut dx = sums;
        let (channels, Part { n, first, count }) = (window.channels, part);
        let place = |y: usize, x: usize| y * window.input[1] + x;
        let source = |pixel: usize| (n * window.input_pixels() + pixel) * channels + first;
        // Lines of the input become 0 just before the first window that reaches them.
        let mut fresh = 0;
        for oy in 0..=window.output[0] {
            let end = if oy == window.output[0] { usize::MAX } else { oy * window.strides[0] + window.kernel[0] * window.dilations[0] };
            while fresh < window.input[0].min(end.saturating_sub(window.pads[0])) {
                for x in 0..window.input[1] {
                    dx.at(place(fresh, x), 0, count).fill(0.0);
                }
                fresh += 1;
            }
            if oy == window.output[0] {
                break;
            }
            for ox in 0..window.output[1] {
                let from = (n * window.output_pixels() + oy * window.output[1] + ox) * channels + first;
                let whole = count / LANES * LANES;
                for c in (0..whole).step_by(LANES) {
                    let largest = E::load::<V>(isa, &pooled.y[from + c..]);
                    let mut rest = E::load::<V>(isa, &pooled.dy[from + c..]);
                    for ky in 0..window.kernel[0] {
                        let Some(y) = window.source(0, oy, ky) else { continue };
                        for kx in 0..window.kernel[1] {
                            let Some(x) = window.source(1, ox, kx) else { continue };
                            let value = E::load::<V>(isa, &pooled.x[source(place(y, x)) + c..]);
                            let to = dx.at(place(y, x), c, LANES);
                            V::load(isa, to).add(rest.where_equal(value, largest)).store(to);
                            rest = rest.unless_equal(value, largest);
                        }
                    }
                }
                for c in whole..count {
                    let hit = |pixel: &usize| pooled.x[source(*pixel) + c].to_f32() == pooled.y[from + c].to_f32();
                    if let Some(pixel) = pixels(window, oy * window.output[1] + ox).find(hit) {
                        dx.at(pixel, c, 1)[0] += pooled.dy[from + c].to_f32();
                    }
                }
            }
        }
    }
}

/// `dy` to the first of every window's largest elements.
pub fn max_pool_grad<E: Element>(cores: &Cores, window: &ConvGeometry, x: &[E], y: &[E], dy: &[E], dx: &mut [E]) {
    let (out, isa) = (DisjointSlice::new(dx), cores.isa());
    by_image(cores, window, &|n, first, count| {
        let part = Part { n, first, count };
        summed(isa, window, out, part, |sums| max_pool_grad_of(isa, window, Pooled { x, y, dy }, part, sums));
    });
}

/// Some channels of one image.
#[derive(Clone, Copy)]
struct Part {
    n: usize,
    first: usize,
    count: usize,
}

/// Where the input pixels of a [`Part`] are summed up: its task alone has it.
struct Sums<'a> {
    data: DisjointSlice<'a>,
    start: usize,
    /// Elements from one pixel to the next.
    distance: usize,
}

impl Sums<'_> {
    /// `count` channels of a pixel.
    #[inline(always)]
    fn at(&mut self, pixel: usize, channel: usize, count: usize) -> &mut [f32] {
        // SAFETY: no other task has the part, and this one has no other piece of it meanwhile.
        unsafe { self.data.part(self.start + pixel * self.distance + channel, count) }
    }
}

/// Calls `work` with sums of the input's pixels: in the output, or in float32 that are rounded into it afterwards.
fn summed<E: Element>(isa: Isa, window: &ConvGeometry, out: DisjointSlice<E>, part: Part, work: impl FnOnce(Sums)) {
    let (pixels, channels, Part { n, first, count }) = (window.input_pixels(), window.channels, part);
    let start = n * pixels * channels + first;
    if let Some(data) = E::sums(out) {
        return work(Sums { data, start, distance: channels });
    }
    with_scratch(pixels * count, |sums| {
        work(Sums { data: DisjointSlice::new(sums), start: 0, distance: count });
        for (pixel, sums) in sums.chunks_exact(count).enumerate() {
            // SAFETY: every task has its own image and channels.
            convert(isa, sums, unsafe { out.part(start + pixel * channels, count) });
        }
    });
}

/// What a mean over a window divides by: all of its places, or those within the image.
fn shares(window: &ConvGeometry, at: usize, pads_count: bool) -> f32 {
    (if pads_count { window.taps() } else { pixels(window, at).count() }) as f32
}

/// The mean of every window, whose places in the padding are zeros or left out; `window.features` is not used.
pub fn average_pool<E: Element>(cores: &Cores, window: &ConvGeometry, pads_count: bool, x: &[E], y: &mut [E]) {
    let channels = window.channels;
    let out = DisjointSlice::new(y);
    by_image(cores, window, &|n, first, count| {
        for at in 0..window.output_pixels() {
            let mut sums = [0.0; CHANNELS];
            for pixel in pixels(window, at) {
                let from = &x[(n * window.input_pixels() + pixel) * channels + first..][..count];
                sums.iter_mut().zip(from).for_each(|(sum, v)| *sum += v.to_f32());
            }
            let shares = shares(window, at, pads_count);
            // SAFETY: every task has its own image and channels.
            let to = unsafe { out.part((n * window.output_pixels() + at) * channels + first, count) };
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = E::from_f32(sum / shares));
        }
    });
}

/// The gradient of that: every window gives each of its places the same share.
pub fn average_pool_grad<E: Element>(cores: &Cores, window: &ConvGeometry, pads_count: bool, dy: &[E], dx: &mut [E]) {
    let channels = window.channels;
    let (out, isa) = (DisjointSlice::new(dx), cores.isa());
    by_image(cores, window, &|n, first, count| {
        summed(isa, window, out, Part { n, first, count }, |mut sums| {
            (0..window.input_pixels()).for_each(|pixel| sums.at(pixel, 0, count).fill(0.0));
            for at in 0..window.output_pixels() {
                let from = &dy[(n * window.output_pixels() + at) * channels + first..][..count];
                let shares = shares(window, at, pads_count);
                for pixel in pixels(window, at) {
                    sums.at(pixel, 0, count).iter_mut().zip(from).for_each(|(to, v)| *to += v.to_f32() / shares);
                }
            }
        });
    });
}

/// The sum over the pixels of every image, divided by a number: `[N, C]`.
pub fn pixel_sums<E: Element>(cores: &Cores, (images, channels): (usize, usize), divisor: f32, x: &[E], y: &mut [f32]) {
    let pixels = x.len() / (images * channels).max(1);
    let out = DisjointSlice::new(y);
    cores.run(images, &|n| {
        // SAFETY: every task has its own image.
        let to = unsafe { out.part(n * channels, channels) };
        to.fill(0.0);
        for row in x[n * pixels * channels..][..pixels * channels].chunks_exact(channels) {
            to.iter_mut().zip(row).for_each(|(to, v)| *to += v.to_f32());
        }
        to.iter_mut().for_each(|v| *v /= divisor);
    });
}

/// Images of so many pixels, each of which is that row of channels: `[N, C]` → `[N, pixels, C]`.
pub fn spread_rows<E: Element>(cores: &Cores, (images, channels): (usize, usize), pixels: usize, x: &[f32], y: &mut [E]) {
    let (out, isa) = (DisjointSlice::new(y), cores.isa());
    cores.run(images, &|n| {
        // SAFETY: every task has its own image.
        let to = unsafe { out.part(n * pixels * channels, pixels * channels) };
        to.chunks_exact_mut(channels).for_each(|to| convert(isa, &x[n * channels..][..channels], to));
    });
}
