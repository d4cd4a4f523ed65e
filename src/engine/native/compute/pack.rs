//! Weights `[O, I, kh, kw]` in the order in which products read them.

use super::Element;
use super::disjoint_slice::{DisjointSlice, Scratch};
use super::element::word;
use super::gather::Gather;
use super::lanes::{Lanes, for_isa};
use super::{ConvGeometry, Cores, Isa};
use half::bf16;
use std::ops::Range;

/// Columns of one panel of the AVX-512 tiles.
pub const PANEL: usize = 32;
/// Columns of one panel, at most, where the `gemm` crate multiplies.
const WIDE: usize = 256;

/// What the factors of a product are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factors {
    /// Float32, of which nothing is lost.
    Floats,
    /// Float32 that are rounded to bfloat16.
    Rounded,
    /// Two bfloat16 in one word: neighbours in the depth, the first in the lower half.
    Pairs,
}

impl Factors {
    /// Those that meet elements `L` on the left, for images of `O`.
    pub fn of<L: Element, O: Element>(isa: Isa, depth: usize) -> Factors {
        match O::ROUNDS {
            false => Factors::Floats,
            true if L::ROUNDS && isa.multiplies_pairs() && depth.is_multiple_of(2) => Factors::Pairs,
            true => Factors::Rounded,
        }
    }

    /// How many factors lie in a word.
    pub fn in_word(self) -> usize {
        if self == Factors::Pairs { 2 } else { 1 }
    }

    /// A row of words from as many rows of numbers as a word has factors; the second is zeros where there is none.
    #[inline(always)]
    fn words(self, first: impl Iterator<Item = f32>, second: impl Iterator<Item = f32>, to: &mut [f32]) {
        let half = <bf16 as Element>::from_f32;
        match self {
            Factors::Floats => to.iter_mut().zip(first).for_each(|(to, v)| *to = v),
            Factors::Rounded => to.iter_mut().zip(first).for_each(|(to, v)| *to = bf16::factor(v)),
            Factors::Pairs => {
                to.iter_mut().zip(first.zip(second)).for_each(|(to, (a, b))| *to = word(half(a), half(b)));
            }
        }
    }
}

/// The right side of a product: for each group and panel of columns, for each tap, a row of the panel's columns for every row of
/// the left side's depth. Columns beyond the last are zero.
pub struct Packed {
    /// Words of factors.
    pub data: Scratch,
    pub factors: Factors,
    pub groups: usize,
    pub taps: usize,
    pub depth: usize,
    pub columns: usize,
    /// Columns of one panel: [`PANEL`], or up to [`WIDE`] where the `gemm` crate multiplies.
    pub panel: usize,
}

impl Packed {
    fn new(isa: Isa, factors: Factors, groups: usize, taps: usize, (depth, columns): (usize, usize)) -> Packed {
        let panel = match isa {
            Isa::Avx512(..) => PANEL,
            _ => columns.clamp(1, WIDE),
        };
        let size = groups * columns.div_ceil(panel) * panel * taps * (depth / factors.in_word());
        let mut data = Scratch::new(size);
        if !columns.is_multiple_of(panel) {
            data.fill(0.0);
        }
        Packed { data, factors, groups, taps, depth, columns, panel }
    }

    pub fn panels(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    /// Words that a row of the left side has.
    pub fn words(&self) -> usize {
        self.depth / self.factors.in_word()
    }

    /// Words of one panel.
    pub fn size(&self) -> usize {
        self.taps * self.words() * self.panel
    }
}

/// Input channels that are turned over together, and output channels beside them.
const SIDE: usize = 16;
/// Rows that a task of [`pack_backward`] has.
const ROWS: usize = 64;

/// For the forward convolution: rows are input channels, columns output channels.
pub fn pack_forward(cores: &Cores, conv: &ConvGeometry, factors: Factors, w: &[f32]) -> Packed {
    let (depth, width, taps) = (conv.depth(), conv.width(), conv.taps());
    let mut packed = Packed::new(cores.isa(), factors, conv.groups, taps, (depth, width));
    let (panel, panels, size, isa) = (packed.panel, packed.panels(), packed.size(), cores.isa());
    let out = DisjointSlice::new(&mut packed.data);
    cores.run(conv.groups * panels, &|task| {
        let (group, first) = (task / panels, task % panels * panel);
        // SAFETY: each task has a panel of its own.
        let part = unsafe { out.part(task * size, size) };
        let filters = &w[(group * width + first) * depth * taps..][..panel.min(width - first) * depth * taps];
        turn_over(isa, filters, (depth, taps), factors, panel, part);
    });
    packed
}

for_isa! {
    /// Filters `[column][depth][tap]` as words `[tap][depth][column]`, rows of `panel` columns.
    fn turn_over<V>(isa, filters: &[f32], shape: (usize, usize), factors: Factors, panel: usize, to: &mut [f32]) {
        let _ = isa;
        let (depth, taps) = shape;
        let at_once = factors.in_word();
        for (first, filters) in filters.chunks(SIDE * depth * taps).enumerate() {
            let (first, count) = (first * SIDE, filters.len() / (depth * taps));
            for tap in 0..taps {
                for start in (0..depth).step_by(SIDE) {
                    // So few lines of memory at once stay in the first-level cache, whatever the distance of filters is.
                    let rows = SIDE.min(depth - start);
                    let mut turned = [[0.0; SIDE]; SIDE];
                    for (c, filter) in filters.chunks_exact(depth * taps).enumerate() {
                        for (i, row) in turned.iter_mut().enumerate().take(rows) {
                            row[c] = filter[(start + i) * taps + tap];
                        }
                    }
                    for (nth, rows) in turned[..rows].chunks(at_once).enumerate() {
                        let second = rows.get(1).unwrap_or(&[0.0; SIDE]);
                        let at = ((tap * depth + start) / at_once + nth) * panel + first;
                        factors.words(rows[0].iter().copied(), second.iter().copied(), &mut to[at..at + count]);
                    }
                }
            }
        }
    }
}

/// For the input's gradient: rows are output channels, columns input channels, with the taps of `gather`.
pub fn pack_backward(cores: &Cores, conv: &ConvGeometry, gather: &Gather, factors: Factors, w: &[f32]) -> Packed {
    let (depth, width, taps) = (conv.depth(), conv.width(), conv.taps());
    let mut packed = Packed::new(cores.isa(), factors, conv.groups, gather.taps.len(), (width, depth));
    let (panel, panels, size, words, isa) = (packed.panel, packed.panels(), packed.size(), packed.words(), cores.isa());
    let (blocks, at_once) = (width.div_ceil(ROWS), factors.in_word());
    let out = DisjointSlice::new(&mut packed.data);
    cores.run(conv.groups * blocks, &|task| {
        let (group, start) = (task / blocks, task % blocks * ROWS);
        let rows = ROWS.min(width - start);
        let filters = &w[(group * width + start) * depth * taps..][..rows * depth * taps];
        for (nth, filters) in filters.chunks(at_once * depth * taps).enumerate() {
            for p in 0..panels {
                let columns = p * panel..((p + 1) * panel).min(depth);
                for (at, &tap) in gather.taps.iter().enumerate() {
                    let row = (group * panels + p) * size + (at * words + start / at_once + nth) * panel;
                    // SAFETY: each task has its own rows of all panels.
                    let part = unsafe { out.part(row, columns.len()) };
                    row_of(isa, filters, (depth, taps, tap), columns.clone(), factors, part);
                }
            }
        }
    });
    packed
}

for_isa! {
    /// One tap of some columns of one filter `[depth][tap]`, or of two.
    fn row_of<V>(isa, filters: &[f32], shape: (usize, usize, usize), columns: Range<usize>, factors: Factors, to: &mut [f32]) {
        let _ = isa;
        let (depth, taps, tap) = shape;
        let (first, second) = filters.split_at(depth * taps);
        match taps {
            1 => factors.words(first[columns.clone()].iter().copied(), second.iter().copied().skip(columns.start), to),
            _ => {
                let read = |filter: &[f32], c: usize| filter.get(c * taps + tap).copied().unwrap_or(0.0);
                factors.words(columns.clone().map(|c| read(first, c)), columns.map(|c| read(second, c)), to);
            }
        }
    }
}
