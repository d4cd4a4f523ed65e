//! Blocks as products of matrices, by AMX. Its left side has a row for each output channel, so that packing turns rows of pixels over.
//!
//! Float32 are the sums of two bfloat16, and their products three.

use super::super::halves::{halves_of, split};
use super::super::isa::{Amx, Avx512};
use super::super::matrix::{ROWS, STEP, Term, Tiles};
use super::super::pack::PANEL;
use super::super::panels::{GAP, spread_pairs, transpose};
use super::{Block, CHANNELS, DisjointSlice, Element, Isa, Left, add_row, with_scratch};
use half::bf16;
use std::ops::Range;

/// Pixels that are packed at once: pairs of them are a row of a panel.
const PIXELS: usize = 256;
/// Words of a row of a panel on the left, and to the next one.
const PAIRS: usize = PIXELS / 2;
const LEFT_ROW: usize = PAIRS + 16;
/// From one panel on the right to the next.
const RIGHT: usize = PAIRS * PANEL + GAP;
/// Pairs that are turned over together.
const TURN: usize = 16;
const _: () = assert!(PAIRS.is_multiple_of(STEP) && STEP == TURN && ROWS == PANEL);

/// Packed sides: for bfloat16 one part, for float32 the nearest bfloat16 and what is left.
struct Sides<'a> {
    /// Panels of [`ROWS`] output channels.
    left: Vec<&'a mut [f32]>,
    /// Panels of [`PANEL`] input channels.
    right: Vec<&'a mut [f32]>,
}

impl<E: Element> Block<'_, E> {
    /// Writes to `out` from a place on, rows at a stride; adds the left side's sums over rows to `sums`.
    pub fn matrices(&self, (proof, amx): (Avx512, Amx), out: &DisjointSlice, place: (usize, usize), mut sums: Option<&mut [f32]>) {
        let (blocks, panels) = (self.features.div_ceil(ROWS), self.channels.div_ceil(PANEL));
        let (high, wide) = (blocks * ROWS, panels * PANEL);
        let parts = if E::ROUNDS { 1 } else { 2 };
        let (lefts, rights) = (high * LEFT_ROW, panels * RIGHT);
        with_scratch(high * wide + parts * (lefts + rights), |scratch| {
            let (result, scratch) = scratch.split_at_mut(high * wide);
            let (left, right) = scratch.split_at_mut(parts * lefts);
            let mut sides = Sides { left: left.chunks_exact_mut(lefts).collect(), right: right.chunks_exact_mut(rights).collect() };
            result.fill(0.0);
            let tiles = Tiles::new(amx);
            for first in self.rows.clone().step_by(PIXELS) {
                let rows = first..(first + PIXELS).min(self.rows.end);
                self.pack(proof, rows.clone(), &mut sides, sums.as_deref_mut());
                let steps = rows.len().div_ceil(2 * STEP);
                let next = first + PIXELS..(first + 2 * PIXELS).min(self.rows.end);
                for panel in 0..panels {
                    for block in 0..blocks {
                        self.fetch(&next, panel * blocks + block, blocks * panels);
                        let term = |l: usize, r: usize| Term {
                            left: sides.left[l][block * ROWS * LEFT_ROW..].as_ptr(),
                            distance: LEFT_ROW * size_of::<f32>(),
                            right: sides.right[r][panel * RIGHT..].as_ptr(),
                            steps,
                        };
                        let to = &mut result[block * ROWS * wide + panel * PANEL..];
                        let stride = wide * size_of::<f32>();
                        // SAFETY: rows on the left have `PAIRS` words, of which the steps are a part, panels as many rows of 32; `result` has
                        // 32 rows of 32 columns from here on.
                        match parts {
                            1 => unsafe { tiles.add_product(&[term(0, 0)], to.as_mut_ptr(), stride) },
                            _ => unsafe { tiles.add_product(&[term(1, 0), term(0, 1), term(0, 0)], to.as_mut_ptr(), stride) },
                        }
                    }
                }
            }
            self.deliver(result, wide, out, place);
        });
    }

    /// Puts rows of pixels into both sides' panels; adds the left side's to `sums`. Rows that a whole step lacks are zeros.
    fn pack(&self, proof: Avx512, rows: Range<usize>, sides: &mut Sides, mut sums: Option<&mut [f32]>) {
        let Left::Rows(lefts) = self.left else { return };
        let isa = Isa::Avx512(proof, None);
        let none: [E; CHANNELS] = [E::default(); CHANNELS];
        let high = self.features.next_multiple_of(ROWS);
        let wide = self.features.max(self.channels);
        // Words of pairs, as they are turned over; and of two rows both parts.
        with_scratch(TURN * high + 4 * wide.div_ceil(2), |scratch| {
            let (words, split_rows) = scratch.split_at_mut(TURN * high);
            let split_rows = &mut halves_of(split_rows)[..4 * wide];
            for part in 0..sides.left.len() {
                for turn in 0..rows.len().div_ceil(2 * TURN) {
                    for nth in 0..TURN {
                        let k = turn * TURN + nth;
                        let both = [2 * k, 2 * k + 1].map(|at| (at < rows.len()).then_some(rows.start + at));
                        let a = both.map(|at| at.map_or(&none[..self.features], |at| lefts(at)));
                        let b = both.map(|at| at.and_then(|at| (self.right)(at)).unwrap_or(&none[..self.channels]));
                        if let Some(sums) = sums.as_deref_mut().filter(|_| part == 0) {
                            a.iter().zip(both).filter(|(_, at)| at.is_some()).for_each(|(row, _)| add_row(isa, row, sums));
                        }
                        spread_pairs::<ROWS>(proof, halves(isa, a, part, split_rows), words, nth, TURN * ROWS);
                        spread_pairs::<PANEL>(proof, halves(isa, b, part, split_rows), sides.right[part], k, RIGHT);
                    }
                    for row in (0..high).step_by(TURN) {
                        let (panel, column) = (row / ROWS, row % ROWS);
                        let from = &words[panel * TURN * ROWS + column..];
                        transpose(proof, (from, ROWS), (&mut sides.left[part][row * LEFT_ROW + turn * TURN..], LEFT_ROW));
                    }
                }
            }
        });
    }
}

/// A part of two rows as bfloat16: themselves, or the nearest ones, or what is left by them.
fn halves<'a, E: Element>(isa: Isa, rows: [&'a [E]; 2], part: usize, buffer: &'a mut [bf16]) -> [&'a [bf16]; 2] {
    if let [Some(first), Some(second)] = rows.map(E::halves) {
        return [first, second];
    }
    let len = rows[0].len();
    let mut places = buffer.chunks_exact_mut(len);
    let mut next = || places.next().unwrap_or_default();
    let parts = rows.map(|row| {
        let (near, rest) = (next(), next());
        split(isa, row, (&mut *near, &mut *rest));
        if part == 0 { near } else { rest }
    });
    parts.map(|row| &*row)
}
