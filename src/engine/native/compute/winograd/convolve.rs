//! A convolution, forward or of its input's gradient.

use super::super::disjoint_slice::{DisjointSlice, with_scratch};
use super::super::epilogue::Epilogue;
use super::super::gemm::multiply;
use super::super::pack::{panel_of, rows_of};
use super::super::tile::{MOST_ROWS, Target, Tile};
use super::super::{ConvGeometry, Cores, Element, Isa};
use super::transforms::{Map, Order, Pixels, Region, Tiles, transform_kernels, transform_outputs, transform_patches};
use super::{POINTS, TASKS};
use std::ops::Range;

/// Tiles whose products a task holds at once, so that they stay in its core's second-level cache: as many rows of a product, in whole tiles of
/// registers. Processors without AVX-512 have half as much of that cache.
fn block_of(isa: Isa) -> usize {
    match isa {
        Isa::Avx2(_) | Isa::Neon(_) => 7 * rows_of(isa),
        _ => 4 * rows_of(isa),
    }
}
/// Columns of those products.
const PIECE: usize = 64;
/// Transformed kernels of at most so many elements are made once, for all tasks.
const KERNELS: usize = 1 << 20;
/// Otherwise so many elements of transformed patches are held at once, and a task makes the kernels that it needs.
const PATCHES: usize = if cfg!(test) { 1 << 18 } else { 2 << 20 };

/// Whether transformed kernels are so few that they are made once.
pub fn keeps_kernels(conv: &ConvGeometry) -> bool {
    POINTS * conv.channels.max(conv.features).next_multiple_of(PIECE) * conv.channels.min(conv.features) <= KERNELS
}

/// One convolution, forward or of its input's gradient.
struct Convolution<'a, E> {
    isa: Isa,
    conv: &'a ConvGeometry,
    /// Whether cotangents meet kernels that are turned over.
    turned_over: bool,
    x: Map<'a, E>,
    w: &'a [f32],
    pads: [usize; 2],
    tiles: Tiles,
    y: Pixels<'a, E>,
    epilogue: &'a Epilogue<'a, E>,
}

/// The convolution `x → y` with kernels of `conv`, or, turned over, of the cotangents to the input's gradient. `conv` is always
/// the forward one.
pub fn convolve<E: Element>(
    cores: &Cores,
    conv: &ConvGeometry,
    turned_over: bool,
    x: &[E],
    w: &[f32],
    y: &mut [E],
    epilogue: &Epilogue<E>,
) {
    let (from, to) = match turned_over {
        false => ((conv.input, conv.channels), (conv.output, conv.features)),
        true => ((conv.output, conv.features), (conv.input, conv.channels)),
    };
    assert!(x.len() >= conv.images * from.0[0] * from.0[1] * from.1 && w.len() >= conv.features * conv.channels * 9);
    assert!(y.len() >= conv.images * to.0[0] * to.0[1] * to.1);
    let rounded: Vec<f32>;
    let w = match E::ROUNDS {
        true => {
            rounded = w.iter().map(|&v| E::factor(v)).collect();
            &rounded
        }
        false => w,
    };
    let this = Convolution {
        isa: cores.isa(),
        conv,
        turned_over,
        x: Map::new(x, conv.images, from.0, from.1),
        w,
        pads: if turned_over { conv.pads.map(|p| 2 - p) } else { conv.pads },
        tiles: Tiles::over(conv.images, to.0),
        y: Pixels { size: to.0, channels: to.1, data: DisjointSlice::new(y) },
        epilogue,
    };
    match keeps_kernels(conv) {
        true => this.by_tiles(cores),
        false => this.by_columns(cores),
    }
}

impl<E: Element> Convolution<'_, E> {
    fn depth(&self) -> usize {
        self.x.channels
    }

    /// How patches lie: rows of a product.
    fn rows(&self, tiles: usize) -> Order {
        Order::new(self.depth(), self.depth(), tiles)
    }

    /// How kernels lie that have `columns`: the right side of a product.
    fn panels(&self, columns: usize) -> Order {
        Order::new(columns, panel_of(self.isa, columns), self.depth())
    }

    /// A task has some tiles, and transforms their patches for itself.
    fn by_tiles(&self, cores: &Cores) {
        let (pieces, size) = (self.y.channels.div_ceil(PIECE), self.panels(PIECE).len());
        let part = |piece: usize| piece * PIECE..((piece + 1) * PIECE).min(self.y.channels);
        let count = self.tiles.count();
        let step = block_of(self.isa).min(count.div_ceil(TASKS).next_multiple_of(rows_of(self.isa)));
        with_scratch(pieces * size, |kernels| {
            let shared = DisjointSlice::new(kernels);
            cores.run(pieces, &|piece| {
                // SAFETY: every task has its own piece.
                self.kernels(part(piece), unsafe { shared.part(piece * size, size) });
            });
            cores.run(count.div_ceil(step), &|task| {
                let block = task * step..((task + 1) * step).min(count);
                with_scratch(self.rows(block.len()).len() + POINTS * block.len() * PIECE, |scratch| {
                    let (v, m) = scratch.split_at_mut(self.rows(block.len()).len());
                    self.patches(block.clone(), v);
                    for (piece, u) in kernels.chunks_exact(size).enumerate() {
                        self.products(block.clone(), v, part(piece), u, m);
                    }
                });
            });
        });
    }

    /// A task has some columns, and transforms their kernels for itself.
    fn by_columns(&self, cores: &Cores) {
        let piece = if matches!(self.isa, Isa::Avx512(..)) { PIECE / 2 } else { PIECE };
        let (pieces, count) = (self.y.channels.div_ceil(piece), self.tiles.count());
        let step = block_of(self.isa);
        let held = (PATCHES / (POINTS * self.depth())).next_multiple_of(step);
        with_scratch(self.rows(held.min(count)).len(), |patches| {
            for first in (0..count).step_by(held) {
                let blocks = held.min(count - first).div_ceil(step);
                let block = |nth: usize| first + nth * step..(first + (nth + 1) * step).min(count);
                let place = |nth: usize| nth * self.rows(step).len();
                let shared = DisjointSlice::new(patches);
                cores.run(blocks, &|nth| {
                    // SAFETY: every task has its own block.
                    self.patches(block(nth), unsafe { shared.part(place(nth), self.rows(block(nth).len()).len()) });
                });
                let ranges = TASKS.div_ceil(pieces).min(blocks);
                cores.run(pieces * ranges, &|task| {
                    let (range, first) = (task / pieces, task % pieces * piece);
                    let part = first..(first + piece).min(self.y.channels);
                    let size = self.panels(part.len()).len();
                    with_scratch(size + POINTS * step * part.len(), |scratch| {
                        let (u, m) = scratch.split_at_mut(size);
                        self.kernels(part.clone(), u);
                        for nth in range * blocks / ranges..(range + 1) * blocks / ranges {
                            self.products(block(nth), &patches[place(nth)..], part.clone(), u, m);
                        }
                    });
                });
            }
        });
    }

    fn patches(&self, block: Range<usize>, v: &mut [f32]) {
        let order = self.rows(block.len());
        let region = Region { tiles: self.tiles, range: block, part: 0..self.depth() };
        transform_patches(self.isa, self.x, self.pads, &region, order, v);
    }

    fn kernels(&self, part: Range<usize>, u: &mut [f32]) {
        let order = self.panels(part.len());
        transform_kernels(self.isa, self.w, self.conv, self.turned_over, part, order, u);
    }

    /// Patches `v` times kernels `u`, for each point, and what they become.
    fn products(&self, block: Range<usize>, v: &[f32], part: Range<usize>, u: &[f32], m: &mut [f32]) {
        let (left, right, size) = (self.rows(block.len()).point(), self.panels(part.len()), block.len() * part.len());
        for point in 0..POINTS {
            let (v, u) = (&v[point * left..][..left], &u[point * right.point()..][..right.point()]);
            rows_times_panels(self.isa, v, self.depth(), u, right.panel, &mut m[point * size..][..size], part.len());
        }
        let region = Region { tiles: self.tiles, range: block, part };
        transform_outputs(self.isa, m, &region, self.y, self.epilogue);
    }
}

/// Channels whose products are one sum: longer sums of float32 are made of several such, which halves the error that 512 channels have.
const DEEP: usize = 192;

/// `out = left·right` for rows of `depth` elements; `right` lies in panels.
fn rows_times_panels(isa: Isa, left: &[f32], depth: usize, right: &[f32], panel: usize, out: &mut [f32], width: usize) {
    for first in (0..depth).step_by(DEEP) {
        let part = first..(first + DEEP).min(depth);
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof, _) => in_tiles((proof, None), left, (depth, part), right, out, width),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => in_tiles(proof, left, (depth, part), right, out, width),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(proof) => in_tiles(proof, left, (depth, part), right, out, width),
            _ => {
                let (left, right) = (&left[part.start..], &right[part.start * panel..]);
                multiply(out.len() / width, width, part.len(), (out, width), (left, depth, 1), (right, panel), part.start > 0);
            }
        }
    }
}

/// `part` of [`rows_times_panels`]'s sums, in tiles of a kind; added to what is there, but for the first one.
fn in_tiles<T: Tile>(kind: T, left: &[f32], (depth, part): (usize, Range<usize>), right: &[f32], out: &mut [f32], width: usize) {
    let rows = left.len() / depth;
    let (mut sources, mut offsets) = ([left.as_ptr(); MOST_ROWS], [0; MOST_ROWS]);
    for (p, b) in right.chunks_exact(depth * T::PANEL).enumerate() {
        let b = &b[part.start * T::PANEL..part.end * T::PANEL];
        let target: Target<f32> = Target {
            out: out.as_mut_ptr(),
            addend: std::ptr::null(),
            mask: std::ptr::null(),
            bias: std::ptr::null(),
            relu: false,
            ceiling: f32::INFINITY,
            columns: T::PANEL.min(width - p * T::PANEL),
            add: part.start > 0,
            streams: false,
        };
        for first in (0..rows).step_by(T::ROWS) {
            let valid = T::ROWS.min(rows - first);
            for r in 0..T::ROWS {
                sources[r] = left[(first + r.min(valid - 1)) * depth + part.start..].as_ptr();
                offsets[r] = (first + r) * width + p * T::PANEL;
            }
            // SAFETY: sources are rows with the part's elements, the panel has a row of words for each, and the
            // tile's rows and columns are inside `out`, which is this task's own.
            unsafe { kind.gathered(&sources[..T::ROWS], 1, part.len(), b.as_ptr(), &target, &offsets[..valid]) };
        }
    }
}
