//! Products in a processor's registers: tiles of rows that stay in their places, or are copied together where that pays.

use super::super::halves::{convert, halves_of};
use super::super::memory::settle;
use super::super::pack::{Factors, Packed};
use super::super::tile::{Target, Tile};
use super::{DisjointSlice, Element, Epilogue, Isa, Job, NEAR, with_scratch};
use std::ops::Range;

/// Elements of a row that are multiplied before the next rows' turn: so many rows of both sides stay in a core's caches.
const DEEP: usize = 640;
/// Rows of at least so many elements are copied together.
const FAR: usize = 512;

/// Part of a product's sum: some taps with all of their elements, or some elements of one tap.
struct Chunk {
    taps: Range<usize>,
    elements: Range<usize>,
}

/// A chunk as the tiles of one task meet it.
struct Part<'a, T> {
    kind: T,
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

impl<L: Element, O: Element> Job<'_, L, O> {
    /// The panels' products, in tiles of a kind that multiplies such words as the factors are.
    pub fn vectors<T: Tile>(&self, kind: T, panels: Range<usize>, out: &DisjointSlice<O>) {
        let Packed { taps, depth, factors, panel, .. } = *self.packed;
        assert!(panel == T::PANEL && kind.pairs().is_some() == (factors == Factors::Pairs));
        // Parts of a sum would be rounded where they lie in the output.
        let chunks = if O::ROUNDS { vec![Chunk { taps: 0..taps, elements: 0..depth }] } else { chunks(taps, depth) };
        for (at, chunk) in chunks.iter().enumerate() {
            self.with_rows(kind.isa(), chunk, panels.len(), |rows| {
                let part = Part { kind, chunk, rows, add: at > 0, last: at + 1 == chunks.len() };
                self.tiles(panels.clone(), &part, out);
            });
        }
    }

    /// Where a panel's columns go.
    pub fn at_panel(&self, epilogue: &Epilogue<O>, out: &DisjointSlice<O>, panel: usize) -> Target<O> {
        let first = panel * self.packed.panel;
        Target {
            out: out.as_ptr().wrapping_add(first),
            addend: epilogue.addend.map_or(std::ptr::null(), |s| s.as_ptr().wrapping_add(first)),
            mask: epilogue.mask.map_or(std::ptr::null(), |s| s.as_ptr().wrapping_add(first)),
            bias: epilogue.bias.map_or(std::ptr::null(), |b| b[self.group * self.packed.columns + first..].as_ptr()),
            relu: epilogue.relu,
            ceiling: epilogue.ceiling.unwrap_or(f32::INFINITY),
            columns: (self.packed.columns - first).min(self.packed.panel),
            add: false,
            streams: self.streams,
        }
    }

    /// Copies the chunk's rows together where that pays: rows at distances of 4 kB would all fall into the same lines of the
    /// first-level cache. Rows that are no words of the product become some on the way.
    fn with_rows(&self, isa: Isa, chunk: &Chunk, panels: usize, work: impl FnOnce(Option<(*const f32, usize)>)) {
        let pairs = self.packed.factors == Factors::Pairs;
        let are_words = pairs || !L::ROUNDS;
        if are_words && (self.packed.words() < FAR || panels < 4 || chunk.taps.len() != 1) {
            return work(None);
        }
        let words = |elements: usize| elements / self.packed.factors.in_word();
        let distance = words(chunk.elements.len()).next_multiple_of(16) + 16;
        with_scratch(chunk.taps.len() * self.places.len() * distance, |scratch| {
            let mut rows = scratch.chunks_exact_mut(distance);
            for tap in chunk.taps.clone() {
                for (r, row) in (0..self.places.len()).zip(&mut rows) {
                    let source = &self.source(tap, r)[chunk.elements.clone()];
                    match L::halves(source).filter(|_| pairs) {
                        None => convert(isa, source, &mut row[..source.len()]),
                        Some(halves) => halves_of(row)[..halves.len()].copy_from_slice(halves),
                    }
                }
            }
            work(Some((scratch.as_ptr(), distance)));
        });
    }

    /// The panels' part of the sum.
    fn tiles<T: Tile>(&self, panels: Range<usize>, part: &Part<T>, out: &DisjointSlice<O>) {
        let Packed { depth, panel: width, factors, .. } = *self.packed;
        let Part { kind, chunk, rows, add, last } = *part;
        let (taps, tiles) = (chunk.taps.len(), self.places.len().div_ceil(T::ROWS));
        let mut sources = Vec::with_capacity(tiles * taps * T::ROWS);
        for tile in 0..tiles {
            // A tile that is not full computes its last row several times and writes it once.
            let row = |r: usize| (tile * T::ROWS + r).min(self.places.len() - 1);
            for (nth, tap) in chunk.taps.clone().enumerate() {
                match rows {
                    Some((rows, distance)) => {
                        sources.extend((0..T::ROWS).map(|r| rows.wrapping_add((nth * self.places.len() + row(r)) * distance)))
                    }
                    None => sources.extend((0..T::ROWS).map(|r| self.source(tap, row(r))[chunk.elements.clone()].as_ptr().cast())),
                }
            }
        }
        let targets: Vec<usize> = (0..self.places.len()).map(|r| self.target(r)).collect();
        let epilogue = if last { *self.epilogue } else { Epilogue::default() };
        let words = |elements: usize| elements / factors.in_word();
        let (length, start) = (words(chunk.elements.len()), words(chunk.taps.start * depth + chunk.elements.start) * width);
        let one = |panel: usize, tile: usize| {
            let b = &self.panel(panel)[start..];
            let target = self.at_panel(&epilogue, out, panel);
            let target = Target { add, streams: last && self.streams, ..target };
            let offsets = &targets[tile * T::ROWS..self.places.len().min((tile + 1) * T::ROWS)];
            let sources = &sources[tile * taps * T::ROWS..][..taps * T::ROWS];
            // SAFETY: sources are the chunk's elements as words, the panel has a row of words for each of them; offsets and columns lie inside the
            // output and the slices of its shape, whose lengths `product` checked. No two tasks share a row and a panel.
            unsafe { kind.gathered(sources, taps, length, b.as_ptr(), &target, offsets) };
        };
        // Rows of the output are best written from end to end, where all panels stay in the cache meanwhile.
        if panels.len() * taps * length * width <= NEAR {
            (0..tiles).for_each(|tile| panels.clone().for_each(|panel| one(panel, tile)));
        } else {
            panels.for_each(|panel| (0..tiles).for_each(|tile| one(panel, tile)));
        }
        if self.streams {
            settle();
        }
    }
}
