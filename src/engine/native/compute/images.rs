//! Layouts and pooling of images.

use super::Pool;
use super::gather::Conv;
use super::shared::Shared;

/// Elements of one block of a transposition: both sides stay in the first-level cache.
const BLOCK: usize = 16;

/// `[N, rows, columns]` → `[N, columns, rows]`: images `[N, C, H·W]` to `[N, H·W, C]`, and back.
pub fn transposed(pool: &dyn Pool, images: usize, rows: usize, columns: usize, x: &[f32], out: &mut [f32]) {
    let stripes = columns.div_ceil(BLOCK);
    assert!(x.len() == images * rows * columns && out.len() == x.len());
    let out = Shared::new(out);
    pool.run(images * stripes, &|task| {
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
fn by_image(pool: &dyn Pool, window: &Conv, work: &(dyn Fn(usize, usize, usize) + Sync)) {
    let blocks = window.channels.div_ceil(CHANNELS);
    pool.run(window.images * blocks, &|task| {
        let first = task % blocks * CHANNELS;
        work(task / blocks, first, CHANNELS.min(window.channels - first));
    });
}

/// The input pixels that a window meets, in row-major order.
fn pixels(window: &Conv, at: usize) -> impl Iterator<Item = usize> + '_ {
    let (oy, ox) = (at / window.output[1], at % window.output[1]);
    (0..window.taps()).filter_map(move |tap| {
        let y = window.source(0, oy, tap / window.kernel[1])?;
        let x = window.source(1, ox, tap % window.kernel[1])?;
        Some(y * window.input[1] + x)
    })
}

/// The largest element of every window; `window.features` is not used.
pub fn max_pool(pool: &dyn Pool, window: &Conv, x: &[f32], y: &mut [f32]) {
    let channels = window.channels;
    let out = Shared::new(y);
    by_image(pool, window, &|n, first, count| {
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

/// `dy` to the first of every window's largest elements.
pub fn max_pool_grad(pool: &dyn Pool, window: &Conv, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let channels = window.channels;
    let out = Shared::new(dx);
    by_image(pool, window, &|n, first, count| {
        let place = |pixel: usize| (n * window.input_pixels() + pixel) * channels + first;
        for pixel in 0..window.input_pixels() {
            // SAFETY: every task has its own image and channels.
            unsafe { out.part(place(pixel), count) }.fill(0.0);
        }
        for at in 0..window.output_pixels() {
            let from = (n * window.output_pixels() + at) * channels + first;
            let (y, dy) = (&y[from..][..count], &dy[from..][..count]);
            let mut rest = [0.0f32; CHANNELS];
            rest[..count].copy_from_slice(dy);
            for pixel in pixels(window, at) {
                let x = &x[place(pixel)..][..count];
                // SAFETY: as above.
                let to = unsafe { out.part(place(pixel), count) };
                for c in 0..count {
                    let hit = x[c] == y[c];
                    to[c] += if hit { rest[c] } else { 0.0 };
                    rest[c] = if hit { 0.0 } else { rest[c] };
                }
            }
        }
    });
}

/// The mean over the pixels of every image: `[N, C]`.
pub fn global_average(pool: &dyn Pool, images: usize, channels: usize, x: &[f32], y: &mut [f32]) {
    let pixels = x.len() / (images * channels).max(1);
    let out = Shared::new(y);
    pool.run(images, &|n| {
        // SAFETY: every task has its own image.
        let to = unsafe { out.part(n * channels, channels) };
        to.fill(0.0);
        for row in x[n * pixels * channels..][..pixels * channels].chunks_exact(channels) {
            to.iter_mut().zip(row).for_each(|(to, v)| *to += v);
        }
        to.iter_mut().for_each(|v| *v /= pixels as f32);
    });
}
