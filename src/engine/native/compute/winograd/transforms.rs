//! The transforms of patches, kernels, cotangents and products, and where their numbers lie.

// The two axes of a patch index several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::super::disjoint_slice::DisjointSlice;
use super::super::epilogue::Epilogue;
use super::super::for_isa::for_isa;
use super::super::lanes::{LANES, Lanes};
use super::super::{ConvGeometry, Element};
use super::{PATCH, POINTS, TAPS, TILE};
use std::ops::Range;

/// `Bᵀ·d`
#[inline(always)]
pub(super) fn patch<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; PATCH] {
    let (far, near) = (e.sub(c), d.sub(b).scaled(2.0));
    [
        a.sub(c).scaled(4.0).add(e.sub(c)),
        d.add(e).sub(b.add(c).scaled(4.0)),
        e.sub(d).add(b.sub(c).scaled(4.0)),
        far.add(near),
        far.sub(near),
        b.sub(d).scaled(4.0).add(f.sub(d)),
    ]
}

/// `G·g`
#[inline(always)]
pub(super) fn kernel<V: Lanes>([a, b, c]: [V; 3]) -> [V; PATCH] {
    let (even, wide) = (a.add(c), a.add(c.scaled(4.0)));
    let sixth = |v: V| v.scaled(-1.0 / 6.0);
    let part = |v: V| v.scaled(1.0 / 24.0);
    let twice = b.add(b);
    [a.scaled(0.25), sixth(even.add(b)), sixth(even.sub(b)), part(wide.add(twice)), part(wide.sub(twice)), c]
}

/// `Aᵀ·m`
#[inline(always)]
pub(super) fn outputs<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; TILE] {
    let (even, odd, wide, steep) = (b.add(c), b.sub(c), d.add(e), d.sub(e));
    [a.add(even).add(wide), odd.add(steep.scaled(2.0)), even.add(wide.scaled(4.0)), odd.add(steep.scaled(8.0)).add(f)]
}

/// `A·e`
#[inline(always)]
pub(super) fn cotangents<V: Lanes>([a, b, c, d]: [V; TILE]) -> [V; PATCH] {
    let (even, odd) = (a.add(c), b.add(d));
    let (wide, steep) = (a.add(c.scaled(4.0)), b.add(d.scaled(4.0)).scaled(2.0));
    [a, even.add(odd), even.sub(odd), wide.add(steep), wide.sub(steep), d]
}

/// `Gᵀ·m`
#[inline(always)]
pub(super) fn weights<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; 3] {
    let (near, far) = (b.add(c).scaled(-1.0 / 6.0), d.add(e).scaled(1.0 / 6.0));
    [a.add(far).scaled(0.25).add(near), c.sub(b).scaled(1.0 / 6.0).add(d.sub(e).scaled(1.0 / 12.0)), near.add(far).add(f)]
}

/// An array of the expression's values for `$i` from 0 on. Written out, since closures would not be compiled for the instruction set
/// and arrays that are filled later cost a pass of zeros.
macro_rules! each {
    (3, $i:ident => $value:expr) => { each!(@ $i => $value; 0 1 2) };
    (4, $i:ident => $value:expr) => { each!(@ $i => $value; 0 1 2 3) };
    (6, $i:ident => $value:expr) => { each!(@ $i => $value; 0 1 2 3 4 5) };
    (@ $i:ident => $value:expr; $($n:literal)*) => { [$({ const $i: usize = $n; $value }),*] };
}

/// A rule from `n` to `m` numbers along the rows of the `n×n` values, then along the columns: `[column][row]`.
macro_rules! twice {
    ($rule:ident: $n:tt -> $m:tt, $r:ident $c:ident => $value:expr) => {{
        let rows = each!($n, $r => $rule(each!($n, $c => $value)));
        each!($m, COLUMN => $rule(each!($n, ROW => rows[ROW][COLUMN])))
    }};
}

/// Stores the values of all points, `[column][row]`, at distances of `$step`.
macro_rules! store_points {
    ($values:expr, $to:expr, $at:expr, $step:expr) => {{
        let mut at = $at;
        each!(6, ROW => each!(6, COLUMN => {
            $values[COLUMN][ROW].store(&mut $to[at..]);
            at += $step;
        }));
    }};
}

/// Images of one side of a convolution that are cut into tiles.
#[derive(Clone, Copy)]
pub(super) struct Map<'a, E> {
    pub(super) data: &'a [E],
    pub(super) images: usize,
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl<E: Element> Map<'_, E> {
    /// `images` of `size` pixels.
    pub(super) fn new(data: &[E], images: usize, size: [usize; 2], channels: usize) -> Map<'_, E> {
        assert!(data.len() >= images * size[0] * size[1] * channels);
        Map { data, images, size, channels }
    }

    /// A square of `N×N` pixels, of which some may be outside of the image.
    #[inline(always)]
    pub(super) fn square<const N: usize>(&self, image: usize, y: isize, x: isize) -> Square<E, N> {
        assert!(image < self.images);
        let line = self.size[1] * self.channels;
        let first = (image * self.size[0] * line) as isize + y * line as isize + x * self.channels as isize;
        let mut square =
            Square { start: self.data.as_ptr().wrapping_offset(first), line, channels: self.channels, rows: [0; N], columns: [0; N] };
        for n in 0..N {
            let inside = |at: isize, size: usize| if at >= 0 && at < size as isize { u16::MAX } else { 0 };
            (square.rows[n], square.columns[n]) = (inside(y + n as isize, self.size[0]), inside(x + n as isize, self.size[1]));
        }
        square
    }
}

/// Pixels of a [`Map`], with masks of those inside.
pub(super) struct Square<E, const N: usize> {
    pub(super) start: *const E,
    pub(super) line: usize,
    pub(super) channels: usize,
    pub(super) rows: [u16; N],
    pub(super) columns: [u16; N],
}

impl<E: Element, const N: usize> Square<E, N> {
    /// `LANES` channels of a pixel; zeros outside.
    ///
    /// # Safety
    /// The image has the channels.
    #[inline(always)]
    unsafe fn at<V: Lanes>(&self, isa: V::Proof, row: usize, column: usize, channel: usize) -> V {
        let from = self.start.wrapping_add(row * self.line + column * self.channels + channel);
        // SAFETY: a pixel whose row and column are inside is one of the map's.
        unsafe { E::load_where::<V>(isa, self.rows[row] & self.columns[column], from) }
    }
}

/// The tiles of all images, counted row by row.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Tiles {
    pub(super) fn over(images: usize, size: [usize; 2]) -> Tiles {
        Tiles { images, rows: size[0].div_ceil(TILE), columns: size[1].div_ceil(TILE) }
    }

    pub(super) fn count(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// A tile's image and its first pixel.
    #[inline(always)]
    pub(super) fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * TILE, column * TILE)
    }
}

/// Some tiles with a part of their channels.
pub(super) struct Region {
    pub(super) tiles: Tiles,
    pub(super) range: Range<usize>,
    pub(super) part: Range<usize>,
}

/// Images of one side that are written, each task its own tiles and channels.
#[derive(Clone, Copy)]
pub(super) struct Pixels<'a, E> {
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    pub(super) data: DisjointSlice<'a, E>,
}

/// How transformed channels lie: `[point][panel][tile][channel of the panel]`.
#[derive(Clone, Copy)]
pub(super) struct Order {
    /// Channels of a panel, a multiple of `LANES`; those beyond the last have any value.
    pub(super) panel: usize,
    pub(super) panels: usize,
    pub(super) tiles: usize,
}

impl Order {
    pub(super) fn new(channels: usize, panel: usize, tiles: usize) -> Order {
        Order { panel, panels: channels.div_ceil(panel), tiles }
    }

    /// Elements of one point.
    pub(super) fn point(&self) -> usize {
        self.panels * self.tiles * self.panel
    }

    /// Elements of all points.
    pub(super) fn len(&self) -> usize {
        POINTS * self.point()
    }

    /// The place of the first of a tile's `LANES` channels within a point.
    #[inline(always)]
    pub(super) fn at(&self, tile: usize, channel: usize) -> usize {
        (channel / self.panel * self.tiles + tile) * self.panel + channel % self.panel
    }
}

for_isa! {
    /// The patches of tiles `range`, `part` of their channels, from `pads` before each tile on.
    pub(super) fn transform_patches<V, E>(isa, map: Map<E>, pads: [usize; 2], region: &Region, order: Order, out: &mut [f32]) {
        let Region { tiles, range, part } = region;
        assert!(part.end <= map.channels && part.len().is_multiple_of(LANES));
        for (nth, tile) in range.clone().enumerate() {
            let (image, y, x) = tiles.place(tile);
            let (top, left) = (y as isize - pads[0] as isize, x as isize - pads[1] as isize);
            let square = map.square::<PATCH>(image, top, left);
            for channel in part.clone().step_by(LANES) {
                // SAFETY: `part` are channels of the map, a multiple of `LANES`.
                let v = twice!(patch: 6 -> 6, R C => unsafe { square.at::<V>(isa, R, C, channel) });
                store_points!(v, out, order.at(nth, channel - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// The cotangents of tiles `range`, `part` of their channels.
    pub(super) fn transform_cotangents<V, E>(isa, map: Map<E>, region: &Region, order: Order, out: &mut [f32]) {
        let Region { tiles, range, part } = region;
        assert!(part.end <= map.channels && part.len().is_multiple_of(LANES));
        for (nth, tile) in range.clone().enumerate() {
            let (image, y, x) = tiles.place(tile);
            let square = map.square::<TILE>(image, y as isize, x as isize);
            for channel in part.clone().step_by(LANES) {
                // SAFETY: as for patches.
                let v = twice!(cotangents: 4 -> 6, R C => unsafe { square.at::<V>(isa, R, C, channel) });
                store_points!(v, out, order.at(nth, channel - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// Products of tiles `range`, `[point][tile][channel]`, back to pixels of the output, `part` of its channels.
    pub(super) fn transform_outputs<V, E>(isa, products: &[f32], region: &Region, to: Pixels<E>, epilogue: &Epilogue<E>) {
        let Region { tiles, range, part } = region;
        let Pixels { size, channels, data } = to;
        let step = range.len() * part.len();
        for (nth, tile) in range.clone().enumerate() {
            let (image, y, x) = tiles.place(tile);
            for channel in part.clone().step_by(LANES) {
                let first = nth * part.len() + channel - part.start;
                let v = twice!(outputs: 6 -> 4, R C => V::load(isa, &products[first + (R * PATCH + C) * step..]));
                for i in 0..TILE.min(size[0] - y) {
                    for j in 0..TILE.min(size[1] - x) {
                        let at = ((image * size[0] + y + i) * size[1] + x + j) * channels + channel;
                        // SAFETY: every task has its own tiles and channels.
                        let to = unsafe { data.part(at, LANES) };
                        epilogue.lanes(v[j][i], to, at, channel);
                    }
                }
            }
        }
    }
}

for_isa! {
    /// The kernels between all rows (`tiles` of `order`) and `part` of the columns.
    pub(super) fn transform_kernels<V>(isa, w: &[f32], conv: &ConvGeometry, turned_over: bool, part: Range<usize>, order: Order, u: &mut [f32]) {
        for column in part.clone().step_by(LANES) {
            for row in 0..order.tiles {
                let mut lines = [[0.0; LANES]; 9];
                for l in 0..LANES {
                    let (o, i) = if turned_over { (row, column + l) } else { (column + l, row) };
                    let filter = &w[(o * conv.channels + i) * 9..][..9];
                    for tap in 0..9 {
                        lines[tap][l] = filter[if turned_over { 8 - tap } else { tap }];
                    }
                }
                let transformed = twice!(kernel: 3 -> 6, R C => V::load(isa, &lines[R * TAPS + C]));
                store_points!(transformed, u, order.at(row, column - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// The weights between `outputs` and `inputs` from `m[point][output][input]` with `stride` inputs, to `dw[O][C][3][3]`.
    pub(super) fn transform_weights<V>(isa, m: &[f32], stride: usize, outputs: Range<usize>, inputs: Range<usize>, channels: usize, dw: DisjointSlice) {
        let step = outputs.len() * stride;
        for (nth, o) in outputs.clone().enumerate() {
            // SAFETY: every task has its own pairs of channels.
            let filters = unsafe { dw.part((o * channels + inputs.start) * 9, inputs.len() * 9) };
            for i in (0..inputs.len()).step_by(LANES) {
                let first = nth * stride + i;
                let g = twice!(weights: 6 -> 3, R C => V::load(isa, &m[first + (R * PATCH + C) * step..]));
                let mut lines = [[0.0; LANES]; 9];
                for tap in 0..9 {
                    g[tap % TAPS][tap / TAPS].store(&mut lines[tap]);
                }
                for l in 0..LANES {
                    for tap in 0..9 {
                        filters[(i + l) * 9 + tap] = lines[tap][l];
                    }
                }
            }
        }
    }
}
