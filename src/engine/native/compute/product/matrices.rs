//! Products of matrices, by AMX: blocks of 32 rows with 32 columns, whose sums stay in registers over all taps.
//!
//! Rows that lie at equal distances are read where they are, others are copied together.

use super::super::halves::{convert, halves_of, split};
use super::super::isa::{Amx, Avx512};
use super::super::matrix::{ROWS, STEP, Term, Tiles};
use super::super::memory::settle;
use super::super::pack::{Factors, PANEL};
use super::super::tile::finished;
use super::{BLOCK_OF_MATRICES, DisjointSlice, Element, Isa, Job, NEAR, with_scratch};
use std::ops::Range;

const _: () = assert!(BLOCK_OF_MATRICES.is_multiple_of(ROWS));
/// Words between copied rows beyond their own: with distances of a power of two, they would fall into the same lines of the first-level cache.
const GAP: usize = 16;

/// A block's sums.
#[repr(align(64))]
struct Sums([f32; ROWS * PANEL]);

impl<L: Element, O: Element> Job<'_, L, O> {
    /// The panels' products.
    pub fn matrices(&self, (proof, amx): (Avx512, Amx), panels: Range<usize>, out: &DisjointSlice<O>) {
        let (taps, words, isa) = (self.packed.taps, self.packed.words(), Isa::Avx512(proof, None));
        let blocks = self.places.len().div_ceil(ROWS);
        let targets: Vec<usize> = (0..self.places.len()).map(|r| self.target(r)).collect();
        let distance = words + GAP;
        with_scratch(blocks * taps * ROWS * distance, |scratch| {
            // Where the rows of each block and tap lie, and how far apart in bytes.
            let mut rows = Vec::with_capacity(blocks * taps);
            for (nth, copy) in scratch.chunks_exact_mut(ROWS * distance).enumerate().take(blocks * taps) {
                let (block, tap) = (nth / taps, nth % taps);
                let found = if self.packed.factors == Factors::Split { None } else { self.equidistant(block, tap) };
                rows.push(found.unwrap_or_else(|| {
                    // A block that is not full computes its last row several times and writes it once.
                    for (r, row) in copy.chunks_exact_mut(distance).enumerate() {
                        let source = self.source(tap, (block * ROWS + r).min(self.places.len() - 1));
                        match self.packed.factors {
                            Factors::Split => split(isa, source, halves_of(&mut row[..words]).split_at_mut(words)),
                            _ => convert(isa, source, halves_of(&mut row[..words])),
                        }
                    }
                    (copy.as_ptr(), distance * size_of::<f32>())
                }));
            }
            let tiles = Tiles::new(amx);
            let mut terms = Vec::with_capacity(3 * taps);
            let mut sums = Sums([0.0; ROWS * PANEL]);
            let mut one = |panel: usize, block: usize| {
                let b = self.panel(panel);
                terms.clear();
                for (tap, &(left, distance)) in rows[block * taps..][..taps].iter().enumerate() {
                    let right = b[tap * words * PANEL..][..words * PANEL].as_ptr();
                    match self.packed.factors {
                        Factors::Split => {
                            // The small products first: a rest with the nearest, the nearest with a rest, and the nearest.
                            let (steps, half) = (words / 2 / STEP, words / 2);
                            let (rest, rests) = (left.wrapping_add(half), right.wrapping_add(half * PANEL));
                            terms.extend([(rest, right), (left, rests), (left, right)].map(|(left, right)| Term {
                                left,
                                distance,
                                right,
                                steps,
                            }));
                        }
                        _ => terms.push(Term { left, distance, right, steps: words / STEP }),
                    }
                }
                let target = self.at_panel(self.epilogue, out, panel);
                let offsets = &targets[block * ROWS..self.places.len().min((block + 1) * ROWS)];
                // SAFETY: rows have the tap's words in whole steps, and panels a row of 32 words for each; offsets and columns lie inside the
                // output and the slices of its shape, whose lengths `product` checked. No two tasks share a row and a panel.
                unsafe {
                    tiles.product(&terms, sums.0.as_mut_ptr(), PANEL * size_of::<f32>());
                    finished(proof, &sums.0, &target, offsets);
                }
            };
            // Rows of the output are best written from end to end, where all panels stay in the cache meanwhile.
            if panels.len() * taps * words * PANEL <= NEAR {
                (0..blocks).for_each(|block| panels.clone().for_each(|panel| one(panel, block)));
            } else {
                panels.for_each(|panel| (0..blocks).for_each(|block| one(panel, block)));
            }
        });
        if self.streams {
            settle();
        }
    }

    /// The first of the rows that a whole block meets with a tap, and the bytes from one to the next, where those are always as many.
    fn equidistant(&self, block: usize, tap: usize) -> Option<(*const f32, usize)> {
        let place = |r: usize| self.source(tap, block * ROWS + r).as_ptr().addr();
        if (block + 1) * ROWS > self.places.len() {
            return None;
        }
        let distance = place(1).checked_sub(place(0))?;
        let even = (2..ROWS).all(|r| place(r).checked_sub(place(r - 1)) == Some(distance));
        even.then(|| (self.source(tap, block * ROWS).as_ptr().cast(), distance))
    }
}
