//! Blocks in a processor's registers.

use super::super::halves::convert;
use super::super::memory::fetch;
use super::super::pack::PANEL;
use super::super::panels::{GAP, PIXELS};
use super::super::tile::{OUTER_ROWS as ROWS, Tile};
use super::{Block, CHANNELS, DisjointSlice, Element, FEATURES, FEATURES_OF_PAIRS, Left, with_scratch};
use std::ops::Range;

const _: () = assert!(
    FEATURES.is_multiple_of(ROWS) && FEATURES_OF_PAIRS.is_multiple_of(ROWS) && CHANNELS.is_multiple_of(PANEL) && PIXELS.is_multiple_of(2)
);
/// Bytes that a cache fetches together.
const LINE: usize = 64;

impl<E: Element> Block<'_, E> {
    /// Writes to `out` from a place on, rows at a stride; adds the left side's sums over rows to `sums`.
    pub fn vectors<T: Tile>(&self, kind: T, out: &DisjointSlice, place: (usize, usize), mut sums: Option<&mut [f32]>) {
        let (tiles, panels) = (self.features.div_ceil(ROWS), self.channels.div_ceil(T::PANEL));
        let (high, wide) = (tiles * ROWS, panels * T::PANEL);
        let pairs = kind.pairs();
        let depth = if pairs.is_some() { PIXELS / 2 } else { PIXELS };
        let gaps = (depth * ROWS + GAP, depth * T::PANEL + GAP);
        with_scratch(high * wide + gaps.0 * tiles + gaps.1 * panels, |scratch| {
            let (result, scratch) = scratch.split_at_mut(high * wide);
            let (left, right) = scratch.split_at_mut(gaps.0 * tiles);
            let mut buffer = vec![0.0; self.features.max(self.channels)];
            result.fill(0.0);
            for first in self.rows.clone().step_by(PIXELS) {
                let count = PIXELS.min(self.rows.end - first);
                match pairs {
                    #[cfg(target_arch = "x86_64")]
                    Some(proof) => self.pack_pairs(proof, first..first + count, left, right, sums.as_deref_mut()),
                    _ => self.pack_floats(kind, first..first + count, (left, right), sums.as_deref_mut(), &mut buffer),
                }
                let next = first + PIXELS..(first + 2 * PIXELS).min(self.rows.end);
                let count = if pairs.is_some() { count.div_ceil(2) } else { count };
                for panel in 0..panels {
                    for tile in 0..tiles {
                        self.fetch(&next, panel * tiles + tile, tiles * panels);
                        let (a, b) = (&left[tile * gaps.0..], &right[panel * gaps.1..]);
                        let to = &mut result[tile * ROWS * wide + panel * T::PANEL..];
                        // SAFETY: `result` has rows and columns of a tile from here on, the packed sides `count` rows of as many words.
                        unsafe { kind.outer(a, ROWS, b, count, (to.as_mut_ptr(), wide), self.channels - panel * T::PANEL) };
                    }
                }
            }
            self.deliver(result, wide, out, place);
        });
    }

    /// Puts rows into panels of float32; adds the left side's to `sums`.
    fn pack_floats<T: Tile>(
        &self,
        kind: T,
        rows: Range<usize>,
        (left, right): (&mut [f32], &mut [f32]),
        mut sums: Option<&mut [f32]>,
        buffer: &mut [f32],
    ) {
        let isa = kind.isa();
        for (k, at) in rows.enumerate() {
            let row = self.left.row(isa, at, &mut buffer[..self.features]);
            kind.pack_left(row, left, k);
            if let Some(sums) = sums.as_deref_mut() {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
            }
            match (self.right)(at) {
                Some(row) => match E::floats(row) {
                    Some(row) => kind.pack_right(row, right, k),
                    None => {
                        convert(isa, row, &mut buffer[..self.channels]);
                        kind.pack_right(&buffer[..self.channels], right, k);
                    }
                },
                None => right.chunks_mut(PIXELS * T::PANEL + GAP).for_each(|panel| panel[k * T::PANEL..][..T::PANEL].fill(0.0)),
            }
        }
    }

    /// Asks for part `part` of `parts` of the next rows, so that memory works while the tiles are multiplied.
    pub fn fetch(&self, next: &Range<usize>, part: usize, parts: usize) {
        if next.is_empty() {
            return;
        }
        let at = |part: usize| next.start + part * next.len() / parts;
        for row in at(part)..at(part + 1) {
            let left = if let Left::Rows(rows) = self.left { rows(row) } else { &[] };
            for line in left.chunks(LINE / size_of::<E>()).chain((self.right)(row).unwrap_or_default().chunks(LINE / size_of::<E>())) {
                fetch::<2, _>(line.as_ptr());
            }
        }
    }
}
