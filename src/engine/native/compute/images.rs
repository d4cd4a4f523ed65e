//! Layouts and pooling of images.

use super::Cores;
use super::disjoint_slice::DisjointSlice;
use super::gather::ConvGeometry;
use super::lanes::{LANES, Lanes, for_isa};

/// Elements of one block of a transposition: both sides stay in the first-level cache.
const BLOCK: usize = 16;

/// `[N, rows, columns]` → `[N, columns, rows]`: images `[N, C, H·W]` to `[N, H·W, C]`, and back.
pub fn transposed(cores: &Cores, images: usize, rows: usize, columns: usize, x: &[f32], out: &mut [f32]) {
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
                    to[c * rows + r] = *value;
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
pub fn max_pool(cores: &Cores, window: &ConvGeometry, x: &[f32], y: &mut [f32]) {
    let channels = window.channels;
    let out = DisjointSlice::new(y);
    by_image(cores, window, &|n, first, count| {
        for at in 0..window.output_pixels() {
            // SAFETY: every task has its own image and channels.
            let to = unsafe { out.part((n * window.output_pixels() + at) * channels + first, count) };
            to.fill(f32::NEG_INFINITY);
            for pixel in pixels(window, at) {
                let from = &x[(n * window.input_pixels() + pixel) * channels + first..][..count];
                to.iter_mut().zip(from).for_each(|(to, v)| *to = if *v > *to { *v } else { *to });
            }
        }
    });
}

/// Images of a pooling: its input, its output, the output's cotangent.
#[derive(Clone, Copy)]
struct Pooled<'a> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
}

for_isa! {
    /// The gradient of one image, `count` channels from `first` on.
    fn max_pool_grad_of<V>(isa, window: &ConvGeometry, pooled: Pooled, n: usize, first: usize, count: usize, dx: DisjointSlice) {
        let channels = window.channels;
        let place = |y: usize, x: usize| (n * window.input_pixels() + y * window.input[1] + x) * channels + first;
        // Lines of the input become 0 just before the first window that reaches them.
        let mut fresh = 0;
        for oy in 0..=window.output[0] {
            let end = if oy == window.output[0] { usize::MAX } else { oy * window.strides[0] + window.kernel[0] * window.dilations[0] };
            while fresh < window.input[0].min(end.saturating_sub(window.pads[0])) {
                for x in 0..window.input[1] {
                    // SAFETY: every task has its own image and channels.
                    unsafe { dx.part(place(fresh, x), count) }.fill(0.0);
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
                    let largest = V::load(isa, &pooled.y[from + c..]);
                    let mut rest = V::load(isa, &pooled.dy[from + c..]);
                    for ky in 0..window.kernel[0] {
                        let Some(y) = window.source(0, oy, ky) else { continue };
                        for kx in 0..window.kernel[1] {
                            let Some(x) = window.source(1, ox, kx) else { continue };
                            let at = place(y, x) + c;
                            let value = V::load(isa, &pooled.x[at..]);
                            // SAFETY: as above.
                            let to = unsafe { dx.part(at, LANES) };
                            V::load(isa, to).add(rest.where_equal(value, largest)).store(to);
                            rest = rest.unless_equal(value, largest);
                        }
                    }
                }
                for c in whole..count {
                    let hit = pixels(window, oy * window.output[1] + ox).map(|pixel| place(0, pixel) + c);
                    if let Some(at) = { hit }.find(|&at: &usize| pooled.x[at] == pooled.y[from + c]) {
                        // SAFETY: as above.
                        let to = unsafe { dx.part(at, 1) };
                        to[0] += pooled.dy[from + c];
                    }
                }
            }
        }
    }
}

/// `dy` to the first of every window's largest elements.
pub fn max_pool_grad(cores: &Cores, window: &ConvGeometry, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (out, isa) = (DisjointSlice::new(dx), cores.isa());
    by_image(cores, window, &|n, first, count| max_pool_grad_of(isa, window, Pooled { x, y, dy }, n, first, count, out));
}

/// What a mean over a window divides by: all of its places, or those within the image.
fn shares(window: &ConvGeometry, at: usize, pads_count: bool) -> f32 {
    (if pads_count { window.taps() } else { pixels(window, at).count() }) as f32
}

/// The mean of every window, whose places in the padding are zeros or left out; `window.features` is not used.
pub fn average_pool(cores: &Cores, window: &ConvGeometry, pads_count: bool, x: &[f32], y: &mut [f32]) {
    let channels = window.channels;
    let out = DisjointSlice::new(y);
    by_image(cores, window, &|n, first, count| {
        for at in 0..window.output_pixels() {
            // SAFETY: every task has its own image and channels.
            let to = unsafe { out.part((n * window.output_pixels() + at) * channels + first, count) };
            to.fill(0.0);
            for pixel in pixels(window, at) {
                let from = &x[(n * window.input_pixels() + pixel) * channels + first..][..count];
                to.iter_mut().zip(from).for_each(|(to, v)| *to += v);
            }
            let shares = shares(window, at, pads_count);
            to.iter_mut().for_each(|to| *to /= shares);
        }
    });
}

/// The gradient of that: every window gives each of its places the same share.
pub fn average_pool_grad(cores: &Cores, window: &ConvGeometry, pads_count: bool, dy: &[f32], dx: &mut [f32]) {
    let channels = window.channels;
    let out = DisjointSlice::new(dx);
    by_image(cores, window, &|n, first, count| {
        let place = |pixel: usize| (n * window.input_pixels() + pixel) * channels + first;
        for pixel in 0..window.input_pixels() {
            // SAFETY: every task has its own image and channels.
            unsafe { out.part(place(pixel), count) }.fill(0.0);
        }
        for at in 0..window.output_pixels() {
            let from = &dy[(n * window.output_pixels() + at) * channels + first..][..count];
            let shares = shares(window, at, pads_count);
            for pixel in pixels(window, at) {
                // SAFETY: as above.
                let to = unsafe { out.part(place(pixel), count) };
                to.iter_mut().zip(from).for_each(|(to, v)| *to += v / shares);
            }
        }
    });
}

/// The sum over the pixels of every image, divided by a number: `[N, C]`.
pub fn pixel_sums(cores: &Cores, (images, channels): (usize, usize), divisor: f32, x: &[f32], y: &mut [f32]) {
    let pixels = x.len() / (images * channels).max(1);
    let out = DisjointSlice::new(y);
    cores.run(images, &|n| {
        // SAFETY: every task has its own image.
        let to = unsafe { out.part(n * channels, channels) };
        to.fill(0.0);
        for row in x[n * pixels * channels..][..pixels * channels].chunks_exact(channels) {
            to.iter_mut().zip(row).for_each(|(to, v)| *to += v);
        }
        to.iter_mut().for_each(|v| *v /= divisor);
    });
}

/// Images of so many pixels, each of which is that row of channels: `[N, C]` → `[N, pixels, C]`.
pub fn spread_rows(cores: &Cores, (images, channels): (usize, usize), pixels: usize, x: &[f32], y: &mut [f32]) {
    let out = DisjointSlice::new(y);
    cores.run(images, &|n| {
        // SAFETY: every task has its own image.
        let to = unsafe { out.part(n * pixels * channels, pixels * channels) };
        to.chunks_exact_mut(channels).for_each(|to| to.copy_from_slice(&x[n * channels..][..channels]));
    });
}
