//! Weights `[O, I, kh, kw]` in the order in which products read them.

use super::Element;
use super::disjoint_slice::{DisjointSlice, Scratch};
use super::for_isa::for_isa;
use super::gather::Gather;
use super::halves::{rest, word};
use super::isa::Amx;
use super::{ConvGeometry, Cores, Isa};
use half::bf16;
use std::ops::Range;

/// Columns of one panel of the AVX-512 tiles, and rows of these.
pub const PANEL: usize = 32;
pub const TALL: usize = 14;
/// The same of AVX2 and NEON.
pub const NARROW: usize = 16;
pub const LOW: usize = 6;
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
    /// Float32 as sums of two bfloat16: pairs of those that are nearest, and then pairs of those that are nearest to the rest. Three products
    /// of the parts, all but that of both rests, have 16 of the 24 digits.
    Split,
}

impl Factors {
    /// Those that meet elements `L` on the left, for images of `O`.
    pub fn of<L: Element, O: Element>(isa: Isa, depth: usize) -> Factors {
        match O::ROUNDS {
            false if matrices_of(isa, Factors::Split, depth).is_some() => Factors::Split,
            false => Factors::Floats,
            true if L::pairs(isa).is_some() && depth.is_multiple_of(2) => Factors::Pairs,
            true => Factors::Rounded,
        }
    }

    /// How many factors lie in a word. Split ones have a half in each of two.
    pub fn in_word(self) -> usize {
        if self == Factors::Pairs { 2 } else { 1 }
    }

    /// What a panel has of each tap: so many times rows of words, one after the other, each row for so many numbers in the depth.
    fn parts(self) -> (&'static [Part], usize) {
        match self {
            Factors::Floats => (&[Part::Floats], 1),
            Factors::Rounded => (&[Part::Rounded], 1),
            Factors::Pairs => (&[Part::Pairs], 2),
            Factors::Split => (&[Part::Pairs, Part::Rests], 2),
        }
    }
}

/// What words are made of.
#[derive(Clone, Copy)]
enum Part {
    Floats,
    Rounded,
    Pairs,
    /// Pairs of what rounding leaves.
    Rests,
}

impl Part {
    /// A row of words from as many rows of numbers as a word has factors; the second is zeros where there is none.
    #[inline(always)]
    fn words(self, first: impl Iterator<Item = f32>, second: impl Iterator<Item = f32>, to: &mut [f32]) {
        let half = <bf16 as Element>::from_f32;
        match self {
            Part::Floats => to.iter_mut().zip(first).for_each(|(to, v)| *to = v),
            Part::Rounded => to.iter_mut().zip(first).for_each(|(to, v)| *to = bf16::factor(v)),
            Part::Pairs => to.iter_mut().zip(first.zip(second)).for_each(|(to, (a, b))| *to = word(half(a), half(b))),
            Part::Rests => to.iter_mut().zip(first.zip(second)).for_each(|(to, (a, b))| *to = word(rest(a), rest(b))),
        }
    }
}

/// Elements of the depth that matrices multiply at once.
pub const MATRIX: usize = 32;

/// Where products of such factors are those of matrices: whole steps of pairs.
pub fn matrices_of(isa: Isa, factors: Factors, depth: usize) -> Option<Amx> {
    let fit = matches!(factors, Factors::Pairs | Factors::Split) && depth > 0 && depth.is_multiple_of(MATRIX);
    isa.pairs().and_then(|pairs| pairs.matrices).filter(|_| fit)
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
    /// Columns of one panel: [`panel_of`].
    pub panel: usize,
}

/// Columns of one panel of so many: those of a tile, or up to [`WIDE`] where the `gemm` crate multiplies.
pub fn panel_of(isa: Isa, columns: usize) -> usize {
    match isa {
        Isa::Avx512(..) => PANEL,
        Isa::Avx2(_) | Isa::Neon(_) => NARROW,
        Isa::Portable => columns.clamp(1, WIDE),
    }
}

/// Rows of one tile, of which tasks have whole ones. The `gemm` crate takes any number.
pub fn rows_of(isa: Isa) -> usize {
    match isa {
        Isa::Avx2(_) | Isa::Neon(_) => LOW,
        Isa::Avx512(..) | Isa::Portable => TALL,
    }
}

impl Packed {
    fn new(isa: Isa, factors: Factors, groups: usize, taps: usize, (depth, columns): (usize, usize)) -> Packed {
        let panel = panel_of(isa, columns);
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
        let (parts, at_once) = factors.parts();
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
                        for (which, part) in parts.iter().enumerate() {
                            let row = (tap * parts.len() + which) * (depth / at_once) + start / at_once + nth;
                            let to = &mut to[row * panel + first..][..count];
                            part.words(rows[0].iter().copied(), second.iter().copied(), to);
                        }
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
    let (blocks, (parts, at_once)) = (width.div_ceil(ROWS), factors.parts());
    let out = DisjointSlice::new(&mut packed.data);
    cores.run(conv.groups * blocks, &|task| {
        let (group, start) = (task / blocks, task % blocks * ROWS);
        let rows = ROWS.min(width - start);
        let filters = &w[(group * width + start) * depth * taps..][..rows * depth * taps];
        for (nth, filters) in filters.chunks(at_once * depth * taps).enumerate() {
            for p in 0..panels {
                let columns = p * panel..((p + 1) * panel).min(depth);
                for (at, &tap) in gather.taps.iter().enumerate() {
                    for (which, part) in parts.iter().enumerate() {
                        let row = at * words + which * (width / at_once) + start / at_once + nth;
                        // SAFETY: each task has its own rows of all panels.
                        let to = unsafe { out.part((group * panels + p) * size + row * panel, columns.len()) };
                        row_of(isa, filters, (depth, taps, tap), columns.clone(), *part, to);
                    }
                }
            }
        }
    });
    packed
}

for_isa! {
    /// One tap of some columns of one filter `[depth][tap]`, or of two.
    fn row_of<V>(isa, filters: &[f32], shape: (usize, usize, usize), columns: Range<usize>, part: Part, to: &mut [f32]) {
        let _ = isa;
        let (depth, taps, tap) = shape;
        let (first, second) = filters.split_at(depth * taps);
        match taps {
            1 => part.words(first[columns.clone()].iter().copied(), second.iter().copied().skip(columns.start), to),
            _ => {
                let read = |filter: &[f32], c: usize| filter.get(c * taps + tap).copied().unwrap_or(0.0);
                part.words(columns.clone().map(|c| read(first, c)), columns.map(|c| read(second, c)), to);
            }
        }
    }
}
