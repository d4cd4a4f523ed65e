//! Products of gathered rows with packed weights: forward convolution and the input's gradient.
//!
//! A task has some rows and some panels of columns. [`vectors`] multiplies in registers of AVX-512, AVX2 and NEON, [`matrices`] in those of AMX; elsewhere
//! the `gemm` crate does.

#[cfg(target_arch = "x86_64")]
mod matrices;
mod vectors;

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::epilogue::{Epilogue, finish_row};
use super::gather::{Gather, NONE};
use super::gemm::multiply;
use super::halves::convert;
use super::lanes::LANES;
use super::pack::{Factors, Packed, matrices_of, rows_of};
use super::{Cores, Element, Isa};
use std::ops::Range;

/// Output rows of one task, at most: whole tiles.
const BLOCK: usize = 112;
/// The same where matrices are multiplied.
const BLOCK_OF_MATRICES: usize = 128;
/// Tasks that a product is cut into where it can be.
const TASKS: usize = 24;
/// Elements of panels that stay in a core's second-level cache.
const NEAR: usize = 80 << 10;
/// Results of so many elements are out of all caches before they are read again.
const LARGE: usize = if cfg!(test) { 1 << 12 } else { 6 << 20 };
/// One side of a product: images of `pixels` rows with `channels` elements each.
#[derive(Clone, Copy)]
pub struct Side {
    pub pixels: usize,
    pub channels: usize,
}

/// `out[target] = epilogue(Σ_tap left[source]·packed[tap])` for every target row of `gather` in every image.
pub fn product<L: Element, O: Element>(
    cores: &Cores,
    images: usize,
    left: (&[L], Side),
    gather: &Gather,
    packed: &Packed,
    out: (DisjointSlice<'_, O>, Side),
    epilogue: &Epilogue<O>,
) {
    let ((left, from), (out, to)) = (left, out);
    let per_image = gather.targets.len();
    let rows = images * per_image;
    assert!(left.len() >= images * from.pixels * from.channels && out.len() >= images * to.pixels * to.channels);
    assert!(to.channels >= packed.groups * packed.columns);
    let whole = |s: Option<&[O]>| assert!(s.is_none_or(|s| s.len() >= images * to.pixels * to.channels));
    whole(epilogue.addend);
    whole(epilogue.mask);
    assert!(packed.factors == Factors::of::<L, O>(cores.isa(), packed.depth));
    assert!(epilogue.bias.is_none_or(|s| s.len() >= to.channels));
    assert!(gather.sources.len() == packed.taps * per_image);
    assert!(gather.targets.iter().all(|&t| (t as usize) < to.pixels));
    assert!(gather.sources.iter().all(|&s| s == NONE || (s as usize) < from.pixels));
    let isa = cores.isa();
    let high = match matrices_of(isa, packed.factors, packed.depth) {
        Some(_) => BLOCK_OF_MATRICES,
        None => BLOCK / rows_of(isa) * rows_of(isa),
    };
    let blocks = rows.div_ceil(high);
    let panels = packed.panels();
    let pieces = TASKS.div_ceil((blocks * packed.groups).max(1)).min(panels).max(1);
    let piece = panels.div_ceil(pieces);
    let pieces = panels.div_ceil(piece);
    let aligned =
        out.as_ptr().addr().is_multiple_of(64) && packed.columns.is_multiple_of(packed.panel) && to.channels.is_multiple_of(LANES);
    let streams = out.len() >= LARGE && aligned;
    let zeros = vec![L::default(); packed.depth];
    cores.run(blocks * packed.groups * pieces, &|task| {
        let (block, rest) = (task / (packed.groups * pieces), task % (packed.groups * pieces));
        let (group, first) = (rest / pieces, rest % pieces * piece);
        let places = places(block * high..((block + 1) * high).min(rows), per_image);
        let job = Job { left, from, to, gather, packed, epilogue, streams, zeros: &zeros, group, places: &places };
        let panels = first..(first + piece).min(panels);
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof, pairs) => match matrices_of(isa, packed.factors, packed.depth) {
                Some(amx) => job.matrices((proof, amx), panels, &out),
                None => job.vectors((proof, pairs.map(|p| p.vectors).filter(|_| packed.factors == Factors::Pairs)), panels, &out),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(proof) => job.vectors(proof, panels, &out),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(proof) => job.vectors(proof, panels, &out),
            _ => job.portable(isa, panels, &out),
        }
    });
}

/// Images and rows within them, for rows of all images.
fn places(rows: Range<usize>, per_image: usize) -> Vec<(usize, usize)> {
    let (mut image, mut row) = (rows.start / per_image, rows.start % per_image);
    let next = |_| {
        let place = (image, row);
        (image, row) = if row + 1 == per_image { (image + 1, 0) } else { (image, row + 1) };
        place
    };
    rows.map(next).collect()
}

/// The rows of one task.
struct Job<'a, L, O> {
    left: &'a [L],
    from: Side,
    to: Side,
    gather: &'a Gather,
    packed: &'a Packed,
    epilogue: &'a Epilogue<'a, O>,
    /// Whether the results go past the caches.
    streams: bool,
    zeros: &'a [L],
    group: usize,
    /// Each row's image, and its number among the image's.
    places: &'a [(usize, usize)],
}

impl<L: Element, O: Element> Job<'_, L, O> {
    /// Offset of row `r` of this task in the output, at the group's first column.
    fn target(&self, r: usize) -> usize {
        let (image, row) = self.places[r];
        (image * self.to.pixels + self.gather.targets[row] as usize) * self.to.channels + self.group * self.packed.columns
    }

    /// What row `r` of this task meets with tap `tap`.
    fn source(&self, tap: usize, r: usize) -> &[L] {
        let (image, row) = self.places[r];
        match self.gather.sources[tap * self.gather.targets.len() + row] {
            NONE => self.zeros,
            source => {
                let at = (image * self.from.pixels + source as usize) * self.from.channels + self.group * self.packed.depth;
                &self.left[at..at + self.packed.depth]
            }
        }
    }

    /// The group's panel.
    fn panel(&self, panel: usize) -> &[f32] {
        &self.packed.data[(self.group * self.packed.panels() + panel) * self.packed.size()..][..self.packed.size()]
    }

    /// Copies the rows together and leaves the product to the `gemm` crate.
    fn portable(&self, isa: Isa, panels: Range<usize>, out: &DisjointSlice<O>) {
        let Packed { taps, depth, columns, panel: wide, .. } = *self.packed;
        let deep = taps * depth;
        let count = self.places.len();
        with_scratch(count * (deep + wide), |scratch| {
            let (rows, result) = scratch.split_at_mut(count * deep);
            for r in 0..count {
                for tap in 0..taps {
                    convert(isa, self.source(tap, r), &mut rows[r * deep + tap * depth..][..depth]);
                }
            }
            for panel in panels {
                let first = panel * wide;
                let width = wide.min(columns - first);
                multiply(count, width, deep, (result, width), (rows, deep, 1), (self.panel(panel), wide), false);
                for (r, row) in result.chunks_exact(width).enumerate().take(count) {
                    let at = self.target(r) + first;
                    // SAFETY: no two tasks share a row and a panel.
                    let to = unsafe { out.part(at, width) };
                    finish_row(isa, self.epilogue, row, to, at, self.group * columns + first);
                }
            }
        });
    }
}
