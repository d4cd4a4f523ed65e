//! Convolutions with 3×3 kernels and unit strides through Winograd's minimal filtering.
//!
//! A tile of 4×4 outputs comes from a patch of 6×6 inputs: both it and the kernel become 36 numbers, of which each pair is
//! multiplied once, so that 36 products (for every pair of channels) do the work of 144. With `d` the patch, `g` the kernel,
//! `e` a tile of cotangents:
//!
//! ```text
//! y  = Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A
//! dg = Gᵀ·[(A·e·Aᵀ) ⊙ (Bᵀ·d·B)]·G, summed over tiles
//! ```
//!
//! Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(4×4, 3×3) with the points 0, ±1, ±2, ∞; the
//! second line is the transpose of the first. The 36 products over channels are matrix products. Rounding errors are about ten
//! times those of the direct form (docs/performance.md).

// The two axes of a patch index several arrays at once.
#![allow(clippy::needless_range_loop)]

use super::lanes::{LANES, Lanes, for_isa};
use super::pack::PANEL;
use super::product::{Epilogue, multiply};
use super::shared::{Shared, with_scratch};
use super::{Conv, Isa, Pool};
use std::ops::Range;

/// Outputs of a tile and inputs of a patch along one axis.
const TILE: usize = 4;
const PATCH: usize = 6;
/// Weights of a kernel along one axis.
const TAPS: usize = 3;
const POINTS: usize = PATCH * PATCH;
/// Tasks that the work is cut into where it can be.
const TASKS: usize = 16;

/// Whether these forms compute the convolution.
pub fn covers(conv: &Conv) -> bool {
    conv.kernel == [3, 3]
        && conv.strides == [1, 1]
        && conv.dilations == [1, 1]
        && conv.groups == 1
        && conv.run == 1
        && conv.pads.iter().all(|&p| p <= 2)
        && conv.channels.is_multiple_of(LANES)
        && conv.features.is_multiple_of(LANES)
        && conv.output.iter().all(|&s| s >= TILE)
}

/// `Bᵀ·d`
#[inline(always)]
fn patch<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; PATCH] {
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
fn kernel<V: Lanes>([a, b, c]: [V; 3]) -> [V; PATCH] {
    let (even, wide) = (a.add(c), a.add(c.scaled(4.0)));
    let sixth = |v: V| v.scaled(-1.0 / 6.0);
    let part = |v: V| v.scaled(1.0 / 24.0);
    let twice = b.add(b);
    [a.scaled(0.25), sixth(even.add(b)), sixth(even.sub(b)), part(wide.add(twice)), part(wide.sub(twice)), c]
}

/// `Aᵀ·m`
#[inline(always)]
fn outputs<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; TILE] {
    let (even, odd, wide, steep) = (b.add(c), b.sub(c), d.add(e), d.sub(e));
    [a.add(even).add(wide), odd.add(steep.scaled(2.0)), even.add(wide.scaled(4.0)), odd.add(steep.scaled(8.0)).add(f)]
}

/// `A·e`
#[inline(always)]
fn cotangents<V: Lanes>([a, b, c, d]: [V; TILE]) -> [V; PATCH] {
    let (even, odd) = (a.add(c), b.add(d));
    let (wide, steep) = (a.add(c.scaled(4.0)), b.add(d.scaled(4.0)).scaled(2.0));
    [a, even.add(odd), even.sub(odd), wide.add(steep), wide.sub(steep), d]
}

/// `Gᵀ·m`
#[inline(always)]
fn weights<V: Lanes>([a, b, c, d, e, f]: [V; PATCH]) -> [V; 3] {
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
struct Map<'a> {
    data: &'a [f32],
    images: usize,
    size: [usize; 2],
    channels: usize,
}

impl Map<'_> {
    /// `images` of `size` pixels.
    fn new(data: &[f32], images: usize, size: [usize; 2], channels: usize) -> Map<'_> {
        assert!(data.len() >= images * size[0] * size[1] * channels);
        Map { data, images, size, channels }
    }

    /// A square of `N×N` pixels, of which some may be outside of the image.
    #[inline(always)]
    fn square<const N: usize>(&self, image: usize, y: isize, x: isize) -> Square<N> {
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
struct Square<const N: usize> {
    start: *const f32,
    line: usize,
    channels: usize,
    rows: [u16; N],
    columns: [u16; N],
}

impl<const N: usize> Square<N> {
    /// `LANES` channels of a pixel; zeros outside.
    ///
    /// # Safety
    /// The image has the channels.
    #[inline(always)]
    unsafe fn at<V: Lanes>(&self, row: usize, column: usize, channel: usize) -> V {
        let from = self.start.wrapping_add(row * self.line + column * self.channels + channel);
        // SAFETY: a pixel whose row and column are inside is one of the map's.
        unsafe { V::load_where(self.rows[row] & self.columns[column], from) }
    }
}

/// The tiles of all images, counted row by row.
#[derive(Clone, Copy)]
struct Tiles {
    images: usize,
    rows: usize,
    columns: usize,
}

impl Tiles {
    fn over(images: usize, size: [usize; 2]) -> Tiles {
        Tiles { images, rows: size[0].div_ceil(TILE), columns: size[1].div_ceil(TILE) }
    }

    fn count(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// A tile's image and its first pixel.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (row / self.rows, row % self.rows * TILE, column * TILE)
    }
}

/// How transformed channels lie: `[point][panel][tile][channel of the panel]`.
#[derive(Clone, Copy)]
struct Order {
    /// Channels of a panel, a multiple of `LANES`; those beyond the last have any value.
    panel: usize,
    panels: usize,
    tiles: usize,
}

impl Order {
    fn new(channels: usize, panel: usize, tiles: usize) -> Order {
        Order { panel, panels: channels.div_ceil(panel), tiles }
    }

    /// Elements of one point.
    fn point(&self) -> usize {
        self.panels * self.tiles * self.panel
    }

    /// Elements of all points.
    fn len(&self) -> usize {
        POINTS * self.point()
    }

    /// The place of the first of a tile's `LANES` channels within a point.
    #[inline(always)]
    fn at(&self, tile: usize, channel: usize) -> usize {
        (channel / self.panel * self.tiles + tile) * self.panel + channel % self.panel
    }
}

for_isa! {
    /// The patches of tiles `range`, `part` of their channels, from `pads` before each tile on.
    fn transform_patches<V>(map: Map, pads: [usize; 2], tiles: Tiles, range: Range<usize>, part: Range<usize>, order: Order, out: &mut [f32]) {
        assert!(part.end <= map.channels && part.len().is_multiple_of(LANES));
        for (nth, tile) in range.enumerate() {
            let (image, y, x) = tiles.place(tile);
            let (top, left) = (y as isize - pads[0] as isize, x as isize - pads[1] as isize);
            let square = map.square::<PATCH>(image, top, left);
            for channel in part.clone().step_by(LANES) {
                // SAFETY: `part` are channels of the map, a multiple of `LANES`.
                let v = twice!(patch: 6 -> 6, R C => unsafe { square.at::<V>(R, C, channel) });
                store_points!(v, out, order.at(nth, channel - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// The cotangents of tiles `range`, `part` of their channels.
    fn transform_cotangents<V>(map: Map, tiles: Tiles, range: Range<usize>, part: Range<usize>, order: Order, out: &mut [f32]) {
        assert!(part.end <= map.channels && part.len().is_multiple_of(LANES));
        for (nth, tile) in range.enumerate() {
            let (image, y, x) = tiles.place(tile);
            let square = map.square::<TILE>(image, y as isize, x as isize);
            for channel in part.clone().step_by(LANES) {
                // SAFETY: as for patches.
                let v = twice!(cotangents: 4 -> 6, R C => unsafe { square.at::<V>(R, C, channel) });
                store_points!(v, out, order.at(nth, channel - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// Products of tiles `range`, `[point][tile][channel]`, back to pixels of the output, `part` of its channels.
    fn transform_outputs<V>(products: &[f32], tiles: Tiles, range: Range<usize>, part: Range<usize>, size: [usize; 2], channels: usize, epilogue: &Epilogue, out: Shared) {
        let step = range.len() * part.len();
        for (nth, tile) in range.clone().enumerate() {
            let (image, y, x) = tiles.place(tile);
            for channel in part.clone().step_by(LANES) {
                let first = nth * part.len() + channel - part.start;
                let v = twice!(outputs: 6 -> 4, R C => V::load(&products[first + (R * PATCH + C) * step..]));
                for i in 0..TILE.min(size[0] - y) {
                    for j in 0..TILE.min(size[1] - x) {
                        let at = ((image * size[0] + y + i) * size[1] + x + j) * channels + channel;
                        // SAFETY: every task has its own tiles and channels.
                        let to = unsafe { out.part(at, LANES) };
                        epilogue.lanes(v[j][i], to, at, channel);
                    }
                }
            }
        }
    }
}

for_isa! {
    /// The kernels between all rows (`tiles` of `order`) and `part` of the columns.
    fn transform_kernels<V>(w: &[f32], conv: &Conv, turned_over: bool, part: Range<usize>, order: Order, u: &mut [f32]) {
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
                let transformed = twice!(kernel: 3 -> 6, R C => V::load(&lines[R * TAPS + C]));
                store_points!(transformed, u, order.at(row, column - part.start), order.point());
            }
        }
    }
}

for_isa! {
    /// The weights between `outputs` and `inputs` from `m[point][output][input]` with `stride` inputs, to `dw[O][C][3][3]`.
    fn transform_weights<V>(m: &[f32], stride: usize, outputs: Range<usize>, inputs: Range<usize>, channels: usize, dw: Shared) {
        let step = outputs.len() * stride;
        for (nth, o) in outputs.clone().enumerate() {
            // SAFETY: every task has its own pairs of channels.
            let filters = unsafe { dw.part((o * channels + inputs.start) * 9, inputs.len() * 9) };
            for i in (0..inputs.len()).step_by(LANES) {
                let first = nth * stride + i;
                let g = twice!(weights: 6 -> 3, R C => V::load(&m[first + (R * PATCH + C) * step..]));
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

/// Tiles whose products a task holds at once, so that they stay in its core's second-level cache.
const BLOCK: usize = 56;
/// Columns of those products.
const PIECE: usize = 64;
/// Transformed kernels of at most so many elements are made once, for all tasks.
const KERNELS: usize = 1 << 20;
/// Otherwise so many elements of transformed patches are held at once, and a task makes the kernels that it needs.
const PATCHES: usize = if cfg!(test) { 1 << 18 } else { 2 << 20 };

/// One convolution, forward or of its input's gradient.
struct Convolution<'a> {
    isa: Isa,
    conv: &'a Conv,
    /// Whether cotangents meet kernels that are turned over.
    turned_over: bool,
    x: Map<'a>,
    w: &'a [f32],
    pads: [usize; 2],
    tiles: Tiles,
    size: [usize; 2],
    width: usize,
    epilogue: &'a Epilogue<'a>,
    y: Shared<'a>,
}

/// The convolution `x → y` with kernels of `conv`, or, turned over, of the cotangents to the input's gradient. `conv` is always
/// the forward one.
#[allow(clippy::too_many_arguments)]
pub fn convolve(pool: &dyn Pool, isa: Isa, conv: &Conv, turned_over: bool, x: &[f32], w: &[f32], y: &mut [f32], epilogue: &Epilogue) {
    let (from, to) = match turned_over {
        false => ((conv.input, conv.channels), (conv.output, conv.features)),
        true => ((conv.output, conv.features), (conv.input, conv.channels)),
    };
    assert!(x.len() >= conv.images * from.0[0] * from.0[1] * from.1 && w.len() >= conv.features * conv.channels * 9);
    assert!(y.len() >= conv.images * to.0[0] * to.0[1] * to.1);
    let this = Convolution {
        isa,
        conv,
        turned_over,
        x: Map::new(x, conv.images, from.0, from.1),
        w,
        pads: if turned_over { conv.pads.map(|p| 2 - p) } else { conv.pads },
        tiles: Tiles::over(conv.images, to.0),
        size: to.0,
        width: to.1,
        epilogue,
        y: Shared::new(y),
    };
    match POINTS * from.1 * to.1.next_multiple_of(PIECE) <= KERNELS {
        true => this.by_tiles(pool),
        false => this.by_columns(pool),
    }
}

impl Convolution<'_> {
    fn depth(&self) -> usize {
        self.x.channels
    }

    /// How patches lie: rows of a product.
    fn rows(&self, tiles: usize) -> Order {
        Order::new(self.depth(), self.depth(), tiles)
    }

    /// How kernels lie that have `columns`: the right side of a product.
    fn panels(&self, columns: usize) -> Order {
        let panel = if self.isa == Isa::Avx512 { PANEL } else { columns };
        Order::new(columns, panel, self.depth())
    }

    /// A task has some tiles, and transforms their patches for itself.
    fn by_tiles(&self, pool: &dyn Pool) {
        let (pieces, size) = (self.width.div_ceil(PIECE), self.panels(PIECE).len());
        let part = |piece: usize| piece * PIECE..((piece + 1) * PIECE).min(self.width);
        let count = self.tiles.count();
        let step = BLOCK.min(count.div_ceil(TASKS).next_multiple_of(14));
        with_scratch(pieces * size, |kernels| {
            let shared = Shared::new(kernels);
            pool.run(pieces, &|piece| {
                // SAFETY: every task has its own piece.
                self.kernels(part(piece), unsafe { shared.part(piece * size, size) });
            });
            pool.run(count.div_ceil(step), &|task| {
                let block = task * step..((task + 1) * step).min(count);
                with_scratch(self.rows(block.len()).len() + POINTS * block.len() * PIECE, |scratch| {
                    let (v, m) = scratch.split_at_mut(self.rows(block.len()).len());
                    self.patches(block.clone(), v);
                    for (piece, u) in kernels.chunks_exact(size).enumerate() {
                        self.products(block.clone(), v, part(piece), u, m);
                    }
                });
            });
        });
    }

    /// A task has some columns, and transforms their kernels for itself.
    fn by_columns(&self, pool: &dyn Pool) {
        let piece = if self.isa == Isa::Avx512 { PANEL } else { PIECE };
        let (pieces, count) = (self.width.div_ceil(piece), self.tiles.count());
        let held = (PATCHES / (POINTS * self.depth())).next_multiple_of(BLOCK);
        with_scratch(self.rows(held.min(count)).len(), |patches| {
            for first in (0..count).step_by(held) {
                let blocks = held.min(count - first).div_ceil(BLOCK);
                let block = |nth: usize| first + nth * BLOCK..(first + (nth + 1) * BLOCK).min(count);
                let place = |nth: usize| nth * self.rows(BLOCK).len();
                let shared = Shared::new(patches);
                pool.run(blocks, &|nth| {
                    // SAFETY: every task has its own block.
                    self.patches(block(nth), unsafe { shared.part(place(nth), self.rows(block(nth).len()).len()) });
                });
                let ranges = TASKS.div_ceil(pieces).min(blocks);
                pool.run(pieces * ranges, &|task| {
                    let (range, first) = (task / pieces, task % pieces * piece);
                    let part = first..(first + piece).min(self.width);
                    let size = self.panels(part.len()).len();
                    with_scratch(size + POINTS * BLOCK * part.len(), |scratch| {
                        let (u, m) = scratch.split_at_mut(size);
                        self.kernels(part.clone(), u);
                        for nth in range * blocks / ranges..(range + 1) * blocks / ranges {
                            self.products(block(nth), &patches[place(nth)..], part.clone(), u, m);
                        }
                    });
                });
            }
        });
    }

    fn patches(&self, block: Range<usize>, v: &mut [f32]) {
        let order = self.rows(block.len());
        transform_patches(self.isa, self.x, self.pads, self.tiles, block, 0..self.depth(), order, v);
    }

    fn kernels(&self, part: Range<usize>, u: &mut [f32]) {
        let order = self.panels(part.len());
        transform_kernels(self.isa, self.w, self.conv, self.turned_over, part, order, u);
    }

    /// Patches `v` times kernels `u`, for each point, and what they become.
    fn products(&self, block: Range<usize>, v: &[f32], part: Range<usize>, u: &[f32], m: &mut [f32]) {
        let (left, right, size) = (self.rows(block.len()).point(), self.panels(part.len()), block.len() * part.len());
        for point in 0..POINTS {
            let (v, u) = (&v[point * left..][..left], &u[point * right.point()..][..right.point()]);
            rows_times_panels(self.isa, v, self.depth(), u, right.panel, &mut m[point * size..][..size], part.len());
        }
        transform_outputs(self.isa, m, self.tiles, block, part, self.size, self.width, self.epilogue, self.y);
    }
}

/// `out = left·right` for rows of `depth` elements; `right` lies in panels.
fn rows_times_panels(isa: Isa, left: &[f32], depth: usize, right: &[f32], panel: usize, out: &mut [f32], width: usize) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            use super::tile::{ROWS, Target, gathered};
            let rows = left.len() / depth;
            let mut sources = [left.as_ptr(); ROWS];
            let mut offsets = [0; ROWS];
            for (p, b) in right.chunks_exact(depth * panel).enumerate() {
                let target = Target {
                    out: out.as_mut_ptr(),
                    addend: std::ptr::null(),
                    mask: std::ptr::null(),
                    bias: std::ptr::null(),
                    relu: false,
                    columns: panel.min(width - p * panel),
                    add: false,
                    streams: false,
                };
                for first in (0..rows).step_by(ROWS) {
                    let valid = ROWS.min(rows - first);
                    for r in 0..ROWS {
                        sources[r] = left[(first + r.min(valid - 1)) * depth..].as_ptr();
                        offsets[r] = (first + r) * width + p * panel;
                    }
                    // SAFETY: the processor has AVX-512F; sources are rows of `depth` elements, the panel has `depth·32`, and the
                    // tile's rows and columns are inside `out`, which is this task's own.
                    unsafe { gathered(&sources, 1, depth, b.as_ptr(), &target, &offsets[..valid]) };
                }
            }
        }
        _ => multiply(left.len() / depth, width, depth, (out, width), (left, depth, 1), (right, panel), false),
    }
}

/// Output and input channels, and tiles, that a task of the weights' gradient has at once.
const FEATURES: usize = 64;
const CHANNELS: usize = 128;
const TURN: usize = 56;

/// The gradient of the weights, and of the bias where `db` is given.
pub fn weight_grad(pool: &dyn Pool, isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    let (depth, width) = (conv.channels, conv.features);
    let pixels = conv.images * conv.output_pixels();
    assert!(x.len() >= conv.images * conv.input_pixels() * depth && dy.len() >= pixels * width && dw.len() == width * depth * 9);
    let inputs = Map::new(x, conv.images, conv.input, depth);
    let outputs = Map::new(dy, conv.images, conv.output, width);
    let tiles = Tiles::over(conv.images, conv.output);
    let count = tiles.count();
    // A task has a pair of channel blocks, and a part of the tiles: their sum becomes weights, which are added in the parts' order.
    let (high, wide) = (width.div_ceil(FEATURES), depth.div_ceil(CHANNELS));
    let turns = count.div_ceil(TURN);
    let parts = TASKS.div_ceil(high * wide).min(turns);
    let size = dw.len();
    with_scratch(if parts > 1 { parts * size } else { 0 }, |partial| {
        let target = if parts > 1 { Shared::new(partial) } else { Shared::new(&mut *dw) };
        pool.run(parts * high * wide, &|task| {
            let (part, pair) = (task / (high * wide), task % (high * wide));
            let (o, i) = (pair / wide * FEATURES, pair % wide * CHANNELS);
            let (o, i) = (o..(o + FEATURES).min(width), i..(i + CHANNELS).min(depth));
            let (left, right) = match isa {
                Isa::Avx512 => (Order::new(o.len(), LANES, TURN), Order::new(i.len(), PANEL, TURN)),
                _ => (Order::new(o.len(), o.len(), TURN), Order::new(i.len(), i.len(), TURN)),
            };
            let stride = right.panels * right.panel;
            let sums = POINTS * o.len() * stride;
            with_scratch(sums + left.len() + right.len(), |scratch| {
                let (m, scratch) = scratch.split_at_mut(sums);
                let (e, v) = scratch.split_at_mut(left.len());
                m.fill(0.0);
                for turn in part * turns / parts..(part + 1) * turns / parts {
                    let turn = turn * TURN..((turn + 1) * TURN).min(count);
                    transform_patches(isa, inputs, conv.pads, tiles, turn.clone(), i.clone(), right, v);
                    transform_cotangents(isa, outputs, tiles, turn.clone(), o.clone(), left, e);
                    for point in 0..POINTS {
                        let (e, v) = (&e[point * left.point()..][..left.point()], &v[point * right.point()..][..right.point()]);
                        let m = &mut m[point * o.len() * stride..][..o.len() * stride];
                        outer(isa, turn.len(), (e, left), (v, right), m, (o.len(), i.len()));
                    }
                }
                let at = if parts > 1 { part * size } else { 0 };
                transform_weights(isa, m, stride, o, i, depth, target.from(at));
            });
        });
        if parts > 1 {
            super::shared::add_parts(pool, partial, parts, dw);
        }
    });
    if let Some(db) = db {
        super::norm::column_sums(pool, isa, &dy[..pixels * width], width, db);
    }
}

/// `out += leftᵀ·right` over `count` tiles; `out` has `rows` rows, of which `columns` elements are wanted.
fn outer(
    isa: Isa,
    count: usize,
    (left, a): (&[f32], Order),
    (right, b): (&[f32], Order),
    out: &mut [f32],
    (rows, columns): (usize, usize),
) {
    let stride = b.panels * b.panel;
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            use super::tile::{OUTER_ROWS, outer};
            const _: () = assert!(LANES.is_multiple_of(OUTER_ROWS));
            for panel in 0..b.panels {
                for row in (0..rows).step_by(OUTER_ROWS) {
                    let (a, b) = (&left[a.at(0, row)..], &right[b.at(0, panel * b.panel)..]);
                    let to = &mut out[row * stride + panel * PANEL..];
                    // SAFETY: `Isa::Avx512` is chosen only where the processor has it. `out` has 8 rows of 32 columns from here on
                    // (rows are a multiple of `LANES`), the sides `count` rows at distances of `LANES` and `PANEL`.
                    unsafe { outer(a, LANES, b, count, to.as_mut_ptr(), stride, columns - panel * PANEL) };
                }
            }
        }
        _ => multiply(rows, stride, count, (out, stride), (left, 1, a.panel), (right, b.panel), true),
    }
}
