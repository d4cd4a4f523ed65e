//! The gradients of a convolution's weights and bias.
//!
//! `dW[o, i, tap] = Σ_pixel dY[pixel, o]·X[source(pixel, tap), i]`: for every tap a product over the pixels of all images.

#[cfg(target_arch = "x86_64")]
mod matrices;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod vectors;

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::for_isa::for_isa;
use super::gather::{Gather, NONE};
use super::gemm::multiply;
use super::halves::convert;
use super::panels::PIXELS;
use super::{ConvGeometry, Cores, Element, Isa};
use std::ops::Range;

/// Output and input channels of one block: what is packed of [`PIXELS`] rows fits into a core's second-level cache.
const FEATURES: usize = 128;
/// Output channels where rows are pairs of bfloat16, which take half of the room.
const FEATURES_OF_PAIRS: usize = 256;
const CHANNELS: usize = 256;
/// Where there are fewer tasks than this, the pixels are cut into as many parts, which are added in their order.
const TASKS: usize = 16;

/// Writes the gradient of the weights, `[O, I/groups, kh, kw]`, and of the bias.
pub fn weight_grad<E: Element>(
    cores: &Cores,
    conv: &ConvGeometry,
    gather: &Gather,
    x: &[E],
    dy: &[E],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let (depth, width, taps, isa) = (conv.depth(), conv.width(), conv.taps(), cores.isa());
    let rows = conv.images * conv.output_pixels();
    assert!(x.len() >= conv.images * conv.input_pixels() * conv.channels && dy.len() >= rows * conv.features);
    assert!(dw.len() == conv.features * depth * taps && gather.sources.len() == taps * conv.output_pixels());
    let high = if E::pairs(isa).is_some() { FEATURES_OF_PAIRS } else { FEATURES };
    let (features, channels) = (width.div_ceil(high), depth.div_ceil(CHANNELS));
    let tasks = conv.groups * features * channels * taps;
    let blocks = rows.div_ceil(PIXELS);
    let parts = TASKS.div_ceil(tasks.max(1)).min(blocks).max(1);
    let per_part = blocks.div_ceil(parts) * PIXELS;
    // With several parts, each writes a copy of its own: `[part][tap][O][I]`, then the parts of the bias.
    let size = taps * conv.features * depth;
    with_scratch(parts * (size + conv.features), |buffer| {
        // Only the sums of the bias are added to; products are written.
        buffer.chunks_exact_mut(size + conv.features).for_each(|part| part[size..].fill(0.0));
        let shared = DisjointSlice::new(buffer);
        cores.run(tasks * parts, &|task| {
            // Parts one after the other: each is about images of its own.
            let (part, task) = (task / tasks, task % tasks);
            let (tap, task) = (task % taps, task / taps);
            let (i, task) = (task % channels * CHANNELS, task / channels);
            let (o, group) = (task % features * high, task / features);
            let sources = &gather.sources[tap * conv.output_pixels()..][..conv.output_pixels()];
            let (first_channel, first_feature) = (group * depth + i, group * width + o);
            let block = Block {
                rows: part * per_part..((part + 1) * per_part).min(rows),
                left: Left::Rows(&|row| &dy[row * conv.features + first_feature..][..high.min(width - o)]),
                right: &|row| match sources[row % sources.len()] {
                    NONE => None,
                    source => {
                        let pixel = row / sources.len() * conv.input_pixels() + source as usize;
                        Some(&x[pixel * conv.channels + first_channel..][..CHANNELS.min(depth - i)])
                    }
                },
                features: high.min(width - o),
                channels: CHANNELS.min(depth - i),
            };
            let start = part * (size + conv.features) + (tap * conv.features + first_feature) * depth + i;
            let sums = (tap == 0 && i == 0).then(|| part * (size + conv.features) + size + first_feature);
            // SAFETY: the tasks' sums lie apart.
            let sums = sums.map(|at| unsafe { shared.part(at, block.features) });
            block.run(isa, &shared, start, depth, sums);
        });
        let (first, others) = buffer.split_at(size + conv.features);
        let dw = DisjointSlice::new(dw);
        cores.run(conv.features, &|o| {
            // SAFETY: every task has the filter of one output channel.
            let filter = unsafe { dw.part(o * depth * taps, depth * taps) };
            with_scratch(depth, |sums| {
                for tap in 0..taps {
                    let at = (tap * conv.features + o) * depth;
                    sums.copy_from_slice(&first[at..at + depth]);
                    for part in others.chunks_exact(size + conv.features) {
                        sums.iter_mut().zip(&part[at..at + depth]).for_each(|(sum, v)| *sum += v);
                    }
                    match taps {
                        1 => filter.copy_from_slice(sums),
                        _ => filter.iter_mut().skip(tap).step_by(taps).zip(&*sums).for_each(|(value, sum)| *value = *sum),
                    }
                }
            });
        });
        if let Some(db) = db {
            for (o, out) in db.iter_mut().enumerate() {
                *out = buffer.chunks_exact(size + conv.features).map(|part| part[size + o]).sum();
            }
        }
    })
}

/// The gradient of the weights `[O, C, kh, kw]` and of the bias where `merged`, the convolution with a line's taps as one, has few
/// channels: the product of patches, rows of all that an output pixel meets, with `dy`. A patch ends with a 1, whose products are
/// the gradient of the bias.
pub fn few_channels<E: Element>(
    cores: &Cores,
    (conv, merged): (&ConvGeometry, &ConvGeometry),
    gather: &Gather,
    x: &[f32],
    dy: &[E],
    dw: &mut [f32],
    db: Option<&mut [f32]>,
) {
    let (depth, taps, width, pixels) = (merged.depth(), merged.taps(), merged.features, merged.output_pixels());
    let (rows, isa) = (merged.images * pixels, cores.isa());
    assert!(x.len() >= merged.images * merged.input_pixels() * merged.channels && dy.len() >= rows * width);
    assert!(dw.len() == width * depth * taps && gather.sources.len() == taps * pixels);
    let blocks = rows.div_ceil(PIXELS);
    let parts = TASKS.min(blocks).max(1);
    let size = (taps * depth + 1) * width;
    with_scratch(parts * size, |buffer| {
        let shared = DisjointSlice::new(buffer);
        cores.run(parts, &|part| {
            let block = Block {
                rows: part * blocks / parts * PIXELS..((part + 1) * blocks / parts * PIXELS).min(rows),
                left: Left::Patches(&|row, patch| {
                    let image = &x[row / pixels * merged.input_pixels() * merged.channels..];
                    for tap in 0..taps {
                        // With its padding written out, an image has all that is met.
                        let source = gather.sources[tap * pixels + row % pixels] as usize * merged.channels;
                        copy(&image[source..], &mut patch[tap * depth..], depth);
                    }
                    patch[taps * depth] = 1.0;
                }),
                right: &|row| Some(&dy[row * width..][..width]),
                features: taps * depth + 1,
                channels: width,
            };
            block.run(isa, &shared, part * size, width, None);
        });
        let total = |row: usize, o: usize| buffer.chunks_exact(size).map(|part| part[row * width + o]).sum::<f32>();
        let [high, wide] = conv.kernel;
        for (at, value) in dw.iter_mut().enumerate() {
            let (kx, rest) = (at % wide, at / wide);
            let (ky, rest) = (rest % high, rest / high);
            let (c, o) = (rest % conv.channels, rest / conv.channels);
            *value = total(ky * depth + kx * conv.channels + c, o);
        }
        if let Some(db) = db {
            db.iter_mut().enumerate().for_each(|(o, value)| *value = total(taps * depth, o));
        }
    });
}

/// Copies `len` elements; in sixteens while both sides have them, which is faster than a copy of any length. What follows in `to`
/// may be overwritten.
fn copy(from: &[f32], to: &mut [f32], len: usize) {
    let mut at = 0;
    while at < len {
        match (from[at..].first_chunk::<16>(), to[at..].first_chunk_mut::<16>()) {
            (Some(from), Some(to)) => *to = *from,
            _ => return to[at..len].copy_from_slice(&from[at..len]),
        }
        at += 16;
    }
}

for_isa! {
    /// `sums += row`
    fn add_row<V, E>(isa, row: &[E], sums: &mut [f32]) {
        let _ = isa;
        sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v.to_f32());
    }
}

/// The left side's rows.
enum Left<'a, E> {
    Rows(&'a dyn Fn(usize) -> &'a [E]),
    /// Written for the occasion.
    Patches(&'a dyn Fn(usize, &mut [f32])),
}

impl<E: Element> Left<'_, E> {
    /// A row as float32, which may be written to `buffer`.
    fn row<'b>(&'b self, isa: Isa, row: usize, buffer: &'b mut [f32]) -> &'b [f32] {
        match self {
            Left::Rows(rows) => {
                let row = rows(row);
                E::floats(row).unwrap_or_else(|| {
                    convert(isa, row, buffer);
                    buffer
                })
            }
            Left::Patches(patches) => {
                patches(row, buffer);
                buffer
            }
        }
    }
}

/// One block of an outer product: a range of rows, and the columns that each side has in a row.
struct Block<'a, E> {
    rows: Range<usize>,
    left: Left<'a, E>,
    /// `None` is zeros.
    right: &'a dyn Fn(usize) -> Option<&'a [E]>,
    features: usize,
    channels: usize,
}

impl<E: Element> Block<'_, E> {
    /// Writes to `out` from `start` on, rows (output channels) at `stride`; adds the left side's sums over rows to `sums`.
    fn run(&self, isa: Isa, out: &DisjointSlice, start: usize, stride: usize, sums: Option<&mut [f32]>) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof, pairs) => match pairs.and_then(|pairs| pairs.matrices).filter(|_| matches!(self.left, Left::Rows(_))) {
                Some(amx) => self.matrices((proof, amx), out, (start, stride), sums),
                None => {
                    // Two neighbours in a word, where both sides can be such.
                    let pairs = pairs.filter(|_| E::ROUNDS && matches!(self.left, Left::Rows(_)));
                    self.vectors((proof, pairs.map(|pairs| pairs.vectors)), out, (start, stride), sums);
                }
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => self.vectors(proof, out, (start, stride), sums),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(proof) => self.vectors(proof, out, (start, stride), sums),
            _ => self.portable(isa, out, start, stride, sums),
        }
    }

    /// Brings a block's result to its place.
    fn deliver(&self, result: &[f32], wide: usize, out: &DisjointSlice, (start, stride): (usize, usize)) {
        for (o, row) in result.chunks_exact(wide).enumerate().take(self.features) {
            // SAFETY: no two tasks have the same rows and columns.
            let to = unsafe { out.part(start + o * stride, self.channels) };
            to.copy_from_slice(&row[..self.channels]);
        }
    }

    fn portable(&self, isa: Isa, out: &DisjointSlice, start: usize, stride: usize, mut sums: Option<&mut [f32]>) {
        let (high, wide) = (self.features, self.channels);
        with_scratch(high * wide + PIXELS * (high + wide), |scratch| {
            let (result, scratch) = scratch.split_at_mut(high * wide);
            let (left, right) = scratch.split_at_mut(PIXELS * high);
            let mut buffer = vec![0.0; self.features];
            result.fill(0.0);
            for first in self.rows.clone().step_by(PIXELS) {
                let count = PIXELS.min(self.rows.end - first);
                for k in 0..count {
                    let row = self.left.row(isa, first + k, &mut buffer);
                    left[k * high..][..high].copy_from_slice(row);
                    if let Some(sums) = sums.as_deref_mut() {
                        sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
                    }
                    let to = &mut right[k * wide..][..wide];
                    match (self.right)(first + k) {
                        Some(row) => convert(isa, row, to),
                        None => to.fill(0.0),
                    }
                }
                multiply(high, wide, count, (result, wide), (left, 1, high), (right, wide), true);
            }
            self.deliver(result, wide, out, (start, stride));
        });
    }
}
