//! Products of gathered rows with packed weights: forward convolution and the input's gradient.

use super::disjoint_slice::{DisjointSlice, with_scratch};
use super::element::{convert, word};
use super::gather::{Gather, NONE};
use super::lanes::{LANES, Lanes, for_isa};
use super::pack::{Factors, PANEL, Packed};
use super::{Cores, Element, Isa};
use std::ops::Range;

/// Output rows of one task.
const BLOCK: usize = 112;
/// Tasks that a product is cut into where it can be.
const TASKS: usize = 24;
/// Elements of a row that are multiplied before the next rows' turn: so many rows of both sides stay in a core's caches.
const DEEP: usize = 640;
/// Elements of panels that stay in a core's second-level cache.
const NEAR: usize = 80 << 10;
/// Results of so many elements are out of all caches before they are read again.
const LARGE: usize = if cfg!(test) { 1 << 12 } else { 6 << 20 };
/// Rows of at least so many elements are copied together.
const FAR: usize = 512;

/// What is done to a product before it is written. Slices have the output's shape, `bias` one element per output channel.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a, O = f32> {
    pub bias: Option<&'a [f32]>,
    pub addend: Option<&'a [O]>,
    /// Negative values become 0.
    pub relu: bool,
    /// Values become 0 where this is not positive: a rectifier's gradient.
    pub mask: Option<&'a [O]>,
    /// Of a rectifier that is cut off above: larger values become this one with `relu`, and 0 where the mask reaches it.
    pub ceiling: Option<f32>,
}

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
    let blocks = rows.div_ceil(BLOCK);
    let panels = packed.panels();
    let pieces = TASKS.div_ceil((blocks * packed.groups).max(1)).min(panels).max(1);
    let piece = panels.div_ceil(pieces);
    let pieces = panels.div_ceil(piece);
    let aligned = out.as_ptr().addr().is_multiple_of(64) && packed.columns.is_multiple_of(PANEL) && to.channels.is_multiple_of(LANES);
    let streams = out.len() >= LARGE && aligned;
    let zeros = vec![L::default(); packed.depth];
    // Parts of a sum would be rounded where they lie in the output.
    let chunks =
        if O::ROUNDS { vec![Chunk { taps: 0..packed.taps, elements: 0..packed.depth }] } else { chunks(packed.taps, packed.depth) };
    let isa = cores.isa();
    cores.run(blocks * packed.groups * pieces, &|task| {
        let (block, rest) = (task / (packed.groups * pieces), task % (packed.groups * pieces));
        let (group, first) = (rest / pieces, rest % pieces * piece);
        let start = block * BLOCK;
        let count = BLOCK.min(rows - start);
        let job = Job { left, from, to, gather, packed, epilogue, streams, zeros: &zeros, group, start, count, per_image };
        let panels = first..(first + piece).min(panels);
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(proof, pairs) => {
                for (at, chunk) in chunks.iter().enumerate() {
                    job.with_rows(isa, chunk, panels.len(), |rows| {
                        let proofs = (proof, pairs.filter(|_| packed.factors == Factors::Pairs));
                        let part = Part { proofs, chunk, rows, add: at > 0, last: at + 1 == chunks.len() };
                        job.tiles(panels.clone(), &part, &out);
                    });
                }
            }
            _ => job.portable(isa, panels, &out),
        }
    });
}

/// Part of a product's sum: some taps with all of their elements, or some elements of one tap.
struct Chunk {
    taps: Range<usize>,
    elements: Range<usize>,
}

/// A chunk as the tiles of one task meet it.
#[cfg(target_arch = "x86_64")]
struct Part<'a> {
    /// Of pairs where the factors are such.
    proofs: super::tile::Proofs,
    chunk: &'a Chunk,
    /// The task's rows copied together, those of one tap after those of another, with the distance between them; `None` where they stay in
    /// their places.
    rows: Option<(*const f32, usize)>,
    /// Whether earlier parts of the sum are in the output.
    add: bool,
    /// Whether the epilogue follows.
    last: bool,
}

/// The sum in parts of about [`DEEP`] elements.
fn chunks(taps: usize, depth: usize) -> Vec<Chunk> {
    if taps == 0 {
        // A sum of nothing, which has its epilogue all the same.
        return vec![Chunk { taps: 0..0, elements: 0..depth }];
    }
    if depth > DEEP {
        let step = depth.div_ceil(depth.div_ceil(DEEP));
        let parts = (0..depth).step_by(step).map(|start| start..(start + step).min(depth));
        return (0..taps).flat_map(|tap| parts.clone().map(move |elements| Chunk { taps: tap..tap + 1, elements })).collect();
    }
    let step = taps.div_ceil((taps * depth).div_ceil(DEEP).max(1));
    (0..taps).step_by(step).map(|start| Chunk { taps: start..(start + step).min(taps), elements: 0..depth }).collect()
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
    start: usize,
    count: usize,
    per_image: usize,
}

impl<L: Element, O: Element> Job<'_, L, O> {
    /// Offset of row `r` of this task in the output, at the group's first column.
    fn target(&self, r: usize) -> usize {
        let (image, row) = ((self.start + r) / self.per_image, (self.start + r) % self.per_image);
        (image * self.to.pixels + self.gather.targets[row] as usize) * self.to.channels + self.group * self.packed.columns
    }

    /// What row `r` of this task meets with tap `tap`.
    fn source(&self, tap: usize, r: usize) -> &[L] {
        let (image, row) = ((self.start + r) / self.per_image, (self.start + r) % self.per_image);
        match self.gather.sources[tap * self.per_image + row] {
            NONE => self.zeros,
            source => {
                let at = (image * self.from.pixels + source as usize) * self.from.channels + self.group * self.packed.depth;
                &self.left[at..at + self.packed.depth]
            }
        }
    }

    /// Copies the chunk's rows together where that pays: rows at distances of 4 kB would all fall into the same lines of the
    /// first-level cache. Rows that are no words of the product become some on the way.
    #[cfg(target_arch = "x86_64")]
    fn with_rows(&self, isa: Isa, chunk: &Chunk, panels: usize, work: impl FnOnce(Option<(*const f32, usize)>)) {
        let pairs = self.packed.factors == Factors::Pairs;
        let are_words = pairs || !L::ROUNDS;
        if are_words && (self.packed.words() < FAR || panels < 4 || chunk.taps.len() != 1) {
            return work(None);
        }
        let words = |elements: usize| elements / self.packed.factors.in_word();
        let distance = words(chunk.elements.len()).next_multiple_of(16) + 16;
        with_scratch(chunk.taps.len() * self.count * distance, |scratch| {
            let mut rows = scratch.chunks_exact_mut(distance);
            for tap in chunk.taps.clone() {
                for (r, row) in (0..self.count).zip(&mut rows) {
                    let source = &self.source(tap, r)[chunk.elements.clone()];
                    match L::halves(source).filter(|_| pairs) {
                        None => convert(isa, source, &mut row[..source.len()]),
                        Some(halves) => {
                            row.iter_mut().zip(halves.chunks_exact(2)).for_each(|(to, both)| *to = word(both[0], both[1]));
                        }
                    }
                }
            }
            work(Some((scratch.as_ptr(), distance)));
        });
    }

    /// The panels' part of the sum.
    #[cfg(target_arch = "x86_64")]
    fn tiles(&self, panels: Range<usize>, part: &Part, out: &DisjointSlice<O>) {
        use super::tile::{ROWS, Target, gathered};
        const _: () = assert!(BLOCK.is_multiple_of(ROWS));
        let Packed { depth, columns, panel: width, factors, .. } = *self.packed;
        let Part { proofs, chunk, rows, add, last } = *part;
        let (taps, tiles) = (chunk.taps.len(), self.count.div_ceil(ROWS));
        let mut sources = Vec::with_capacity(tiles * taps * ROWS);
        for tile in 0..tiles {
            // A tile that is not full computes its last row several times and writes it once.
            let row = |r: usize| (tile * ROWS + r).min(self.count - 1);
            for (nth, tap) in chunk.taps.clone().enumerate() {
                match rows {
                    Some((rows, distance)) => sources.extend((0..ROWS).map(|r| rows.wrapping_add((nth * self.count + row(r)) * distance))),
                    None => sources.extend((0..ROWS).map(|r| self.source(tap, row(r))[chunk.elements.clone()].as_ptr().cast())),
                }
            }
        }
        let targets: Vec<usize> = (0..self.count).map(|r| self.target(r)).collect();
        let epilogue = if last { self.epilogue } else { &Epilogue::NONE };
        let group = self.group * self.packed.panels();
        let words = |elements: usize| elements / factors.in_word();
        let (length, start) = (words(chunk.elements.len()), words(chunk.taps.start * depth + chunk.elements.start) * width);
        let one = |panel: usize, tile: usize| {
            let first = panel * width;
            let b = &self.packed.data[(group + panel) * self.packed.size()..][..self.packed.size()][start..];
            let target = Target {
                out: out.as_ptr().wrapping_add(first),
                addend: epilogue.addend.map_or(std::ptr::null(), |s| s.as_ptr().wrapping_add(first)),
                mask: epilogue.mask.map_or(std::ptr::null(), |s| s.as_ptr().wrapping_add(first)),
                bias: epilogue.bias.map_or(std::ptr::null(), |b| b[self.group * columns + first..].as_ptr()),
                relu: epilogue.relu,
                ceiling: epilogue.ceiling.unwrap_or(f32::INFINITY),
                columns: (columns - first).min(width),
                add,
                streams: last && self.streams,
            };
            let offsets = &targets[tile * ROWS..self.count.min((tile + 1) * ROWS)];
            let sources = &sources[tile * taps * ROWS..][..taps * ROWS];
            // SAFETY: sources are the chunk's elements as words, the panel has 32 words for each of them; offsets and columns lie inside the
            // output and the slices of its shape, whose lengths `product` checked. No two tasks share a row and a panel.
            unsafe { gathered(proofs, sources, taps, length, b.as_ptr(), &target, offsets) };
        };
        // Rows of the output are best written from end to end, where all panels stay in the cache meanwhile.
        if panels.len() * taps * length * width <= NEAR {
            (0..tiles).for_each(|tile| panels.clone().for_each(|panel| one(panel, tile)));
        } else {
            panels.for_each(|panel| (0..tiles).for_each(|tile| one(panel, tile)));
        }
        if self.streams {
            // SAFETY: every x86-64 processor has it; it makes what was written past the caches visible to other threads.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
    }

    /// Copies the rows together and leaves the product to the `gemm` crate.
    fn portable(&self, isa: Isa, panels: Range<usize>, out: &DisjointSlice<O>) {
        let Packed { taps, depth, columns, panel: wide, .. } = *self.packed;
        let deep = taps * depth;
        with_scratch(self.count * (deep + wide), |scratch| {
            let (rows, result) = scratch.split_at_mut(self.count * deep);
            for r in 0..self.count {
                for tap in 0..taps {
                    convert(isa, self.source(tap, r), &mut rows[r * deep + tap * depth..][..depth]);
                }
            }
            for panel in panels {
                let b = &self.packed.data[(self.group * self.packed.panels() + panel) * self.packed.size()..][..self.packed.size()];
                let first = panel * wide;
                let width = wide.min(columns - first);
                multiply(self.count, width, deep, (result, width), (rows, deep, 1), (b, wide), false);
                for (r, row) in result.chunks_exact(width).enumerate().take(self.count) {
                    let at = self.target(r) + first;
                    // SAFETY: no two tasks share a row and a panel.
                    let to = unsafe { out.part(at, width) };
                    finish_row(isa, self.epilogue, row, to, at, self.group * columns + first);
                }
            }
        });
    }
}

for_isa! {
    /// [`Epilogue::finish`] of a whole row.
    fn finish_row<V, O>(isa, epilogue: &Epilogue<O>, row: &[f32], out: &mut [O], at: usize, channel: usize) {
        let whole = row.len() / LANES * LANES;
        for c in (0..whole).step_by(LANES) {
            epilogue.lanes(V::load(isa, &row[c..]), &mut out[c..], at + c, channel + c);
        }
        epilogue.finish(&row[whole..], &mut out[whole..], at + whole, channel + whole);
    }
}

impl<O: Element> Epilogue<'_, O> {
    /// Nothing is done.
    pub const NONE: Self = Epilogue { bias: None, addend: None, relu: false, mask: None, ceiling: None };

    /// One row of a product to the output's elements from `at` on; `channel` is the first one's channel.
    pub fn finish(&self, row: &[f32], out: &mut [O], at: usize, channel: usize) {
        for (c, (value, out)) in row.iter().zip(out.iter_mut()).enumerate() {
            let mut v = *value;
            if let Some(bias) = self.bias {
                v += bias[channel + c];
            }
            if let Some(addend) = self.addend {
                v += addend[at + c].to_f32();
            }
            if self.relu {
                v = v.max(0.0).min(self.ceiling.unwrap_or(f32::INFINITY));
            }
            let closed = |m: f32| m <= 0.0 || self.ceiling.is_some_and(|ceiling| m >= ceiling);
            if self.mask.is_some_and(|mask| closed(mask[at + c].to_f32())) {
                v = 0.0;
            }
            *out = O::from_f32(v);
        }
    }

    /// [`Epilogue::finish`] for sixteen channels at once.
    #[inline(always)]
    pub fn lanes<V: Lanes>(&self, values: V, out: &mut [O], at: usize, channel: usize) {
        let (mut v, isa) = (values, values.proof());
        if let Some(bias) = self.bias {
            v = v.add(V::load(isa, &bias[channel..]));
        }
        if let Some(addend) = self.addend {
            v = v.add(O::load::<V>(isa, &addend[at..]));
        }
        if self.relu {
            v = v.max(V::splat(isa, 0.0));
            if let Some(ceiling) = self.ceiling {
                v = v.min(V::splat(isa, ceiling));
            }
        }
        if let Some(mask) = self.mask {
            let mask = O::load::<V>(isa, &mask[at..]);
            v = v.where_positive(mask);
            if let Some(ceiling) = self.ceiling {
                v = v.where_positive(V::splat(isa, ceiling).sub(mask));
            }
        }
        O::store(v, out);
    }
}

/// `c = a·b`, or `c += a·b`: `c` is `[m, n]` and `b` `[k, n]` with the given distance between rows, `a` is `[m, k]` with distances
/// between rows and between columns.
pub fn multiply(
    m: usize,
    n: usize,
    k: usize,
    (c, c_row): (&mut [f32], usize),
    (a, a_row, a_column): (&[f32], usize, usize),
    (b, b_row): (&[f32], usize),
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(c.len() > (m - 1) * c_row + n - 1);
    if k == 0 {
        if !add {
            c.chunks_mut(c_row).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    assert!(a.len() > (m - 1) * a_row + (k - 1) * a_column && b.len() > (k - 1) * b_row + n - 1);
    // SAFETY: all elements that the distances lead to are inside the slices, by the assertions above.
    unsafe {
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            c_row as isize,
            add,
            a.as_ptr(),
            a_column as isize,
            a_row as isize,
            b.as_ptr(),
            1,
            b_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}
