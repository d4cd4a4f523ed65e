//! Rows of bfloat16 as pairs of neighbours.

use super::super::isa::Avx512;
use super::super::pack::PANEL;
use super::super::panels::{GAP, PIXELS, spread_pairs};
use super::super::tile::OUTER_ROWS as ROWS;
use super::{Block, CHANNELS, Element, Isa, Left, add_row};
use half::bf16;
use std::ops::Range;

impl<E: Element> Block<'_, E> {
    /// Puts rows of bfloat16 into panels of pairs: two rows in one, a row of zeros after an odd one.
    pub fn pack_pairs(&self, proof: Avx512, rows: Range<usize>, left: &mut [f32], right: &mut [f32], mut sums: Option<&mut [f32]>) {
        let Left::Rows(lefts) = self.left else { return };
        let none: [bf16; CHANNELS] = [bf16::ZERO; CHANNELS];
        for (k, first) in rows.clone().step_by(2).enumerate() {
            let both = [first, first + 1].map(|at| (at < rows.end).then_some(at));
            let a = both.map(|at| at.and_then(|at| E::halves(lefts(at))).unwrap_or(&none[..self.features]));
            let b = both.map(|at| at.and_then(self.right).and_then(E::halves).unwrap_or(&none[..self.channels]));
            spread_pairs::<ROWS>(proof, a, left, k, PIXELS / 2 * ROWS + GAP);
            spread_pairs::<PANEL>(proof, b, right, k, PIXELS / 2 * PANEL + GAP);
            if let Some(sums) = sums.as_deref_mut() {
                for row in a {
                    add_row(Isa::Avx512(proof, None), row, sums);
                }
            }
        }
    }
}
