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
/// Transformed elements that are held at once, so that they stay in the shared cache.
const HELD: usize = 3 << 20;
/// Elements of transformed kernels, or of the products that become them, that are held at once.
const KERNELS: usize = 5 << 19;
/// Rows of one task's product.
const BLOCK: usize = 112;

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

/// A rule from `N` to `M` along the rows of `$m`, then along its columns. No function that takes the rule: a call through it
/// would not be compiled for the instruction set.
macro_rules! twice {
    ($V:ty, $m:expr, $rule:ident: $N:ident -> $M:expr) => {{
        let mut first = [[<$V>::splat(0.0); $N]; $M];
        for r in 0..$N {
            let row = $rule($m[r]);
            for c in 0..$M {
                first[c][r] = row[c];
            }
        }
        let mut second = [[<$V>::splat(0.0); $M]; $M];
        for c in 0..$M {
            let column = $rule(first[c]);
            for r in 0..$M {
                second[r][c] = column[r];
            }
        }
        second
    }};
}

/// Images of one side of a convolution that are cut into tiles.
#[derive(Clone, Copy)]
struct Map<'a> {
    data: &'a [f32],
    size: [usize; 2],
    channels: usize,
}

impl Map<'_> {
    /// `LANES` channels of a pixel; zeros outside.
    #[inline(always)]
    fn at<V: Lanes>(&self, image: usize, y: isize, x: isize, channel: usize) -> V {
        if y < 0 || x < 0 || y >= self.size[0] as isize || x >= self.size[1] as isize {
            return V::splat(0.0);
        }
        V::load(&self.data[((image * self.size[0] + y as usize) * self.size[1] + x as usize) * self.channels + channel..])
    }
}

/// The tiles of a group of images, counted row by row through all of them.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    columns: usize,
    first_image: usize,
    images: usize,
}

impl Tiles {
    fn count(&self) -> usize {
        self.images * self.rows * self.columns
    }

    /// Transformed elements lie as `[point][tile][channel]`.
    fn place(&self, row: usize, column: usize) -> usize {
        row * self.columns + column
    }
}

for_isa! {
    /// One row of tiles: patches of `map` from `pads` before each tile on.
    fn transform_patches<V>(map: Map, pads: [usize; 2], tiles: Tiles, row: usize, out: Shared) {
        let (image, y) = (tiles.first_image + row / tiles.rows, row % tiles.rows * TILE);
        for column in 0..tiles.columns {
            for channel in (0..map.channels).step_by(LANES) {
                let (top, left) = (y as isize - pads[0] as isize, (column * TILE) as isize - pads[1] as isize);
                let mut d = [[V::splat(0.0); PATCH]; PATCH];
                for i in 0..PATCH {
                    for j in 0..PATCH {
                        d[i][j] = map.at(image, top + i as isize, left + j as isize, channel);
                    }
                }
                let v = twice!(V, d, patch: PATCH -> PATCH);
                for point in 0..POINTS {
                    let at = (point * tiles.count() + tiles.place(row, column)) * map.channels + channel;
                    // SAFETY: every task has the tiles of one row.
                    v[point / PATCH][point % PATCH].store(unsafe { out.part(at, LANES) });
                }
            }
        }
    }
}

for_isa! {
    /// One row of tiles of cotangents, `part` of their channels.
    fn transform_cotangents<V>(map: Map, part: Range<usize>, tiles: Tiles, row: usize, out: Shared) {
        let (image, y) = (tiles.first_image + row / tiles.rows, row % tiles.rows * TILE);
        for column in 0..tiles.columns {
            for channel in part.clone().step_by(LANES) {
                let mut e = [[V::splat(0.0); TILE]; TILE];
                for i in 0..TILE {
                    for j in 0..TILE {
                        e[i][j] = map.at(image, (y + i) as isize, (column * TILE + j) as isize, channel);
                    }
                }
                let v = twice!(V, e, cotangents: TILE -> PATCH);
                for point in 0..POINTS {
                    let at = (point * tiles.count() + tiles.place(row, column)) * part.len() + channel - part.start;
                    // SAFETY: every task has the tiles of one row.
                    v[point / PATCH][point % PATCH].store(unsafe { out.part(at, LANES) });
                }
            }
        }
    }
}

for_isa! {
    /// One row of tiles back to pixels of the output, `part` of its channels.
    fn transform_outputs<V>(products: &[f32], tiles: Tiles, row: usize, size: [usize; 2], channels: usize, part: Range<usize>, epilogue: &Epilogue, out: Shared) {
        let (image, y) = (tiles.first_image + row / tiles.rows, row % tiles.rows * TILE);
        for column in 0..tiles.columns {
            let x = column * TILE;
            for channel in part.clone().step_by(LANES) {
                let mut m = [[V::splat(0.0); PATCH]; PATCH];
                for i in 0..PATCH {
                    for j in 0..PATCH {
                        let at = ((i * PATCH + j) * tiles.count() + tiles.place(row, column)) * part.len() + channel - part.start;
                        m[i][j] = V::load(&products[at..]);
                    }
                }
                let v = twice!(V, m, outputs: PATCH -> TILE);
                for (i, line) in v.iter().enumerate().take(size[0] - y.min(size[0])) {
                    for (j, values) in line.iter().enumerate().take(size[1] - x.min(size[1])) {
                        let at = ((image * size[0] + y + i) * size[1] + x + j) * channels + channel;
                        // SAFETY: every task has the pixels of one row of tiles.
                        let to = unsafe { out.part(at, LANES) };
                        epilogue.lanes(*values, to, at, channel);
                    }
                }
            }
        }
    }
}

for_isa! {
    /// The kernels between one row of a product and a panel of its columns: `u[point][row][column]`.
    fn transform_kernels<V>(w: &[f32], conv: &Conv, turned_over: bool, row: usize, first: usize, out: Shared, at: usize, stride: usize) {
        let columns = if turned_over { conv.channels } else { conv.features };
        for lane in (0..PANEL.min(columns - first)).step_by(LANES) {
            let mut lines = [[0.0; LANES]; 9];
            for l in 0..LANES {
                let column = first + lane + l;
                let (o, i) = if turned_over { (row, column) } else { (column, row) };
                let filter = &w[(o * conv.channels + i) * 9..][..9];
                for tap in 0..9 {
                    lines[tap][l] = filter[if turned_over { 8 - tap } else { tap }];
                }
            }
            let mut g = [[V::splat(0.0); 3]; 3];
            for tap in 0..9 {
                g[tap / 3][tap % 3] = V::load(&lines[tap]);
            }
            let u = twice!(V, g, kernel: TAPS -> PATCH);
            for point in 0..POINTS {
                // SAFETY: every task has its own panel, every call its own row.
                u[point / PATCH][point % PATCH].store(unsafe { out.part(at + point * stride + lane, LANES) });
            }
        }
    }
}

for_isa! {
    /// The weights of one output channel from `m[point][o][i]`, where `o` counts from the part's start.
    fn transform_weights<V>(m: &[f32], conv: &Conv, part: Range<usize>, o: usize, dw: Shared) {
        // SAFETY: every task has the filter of one output channel.
        let filter = unsafe { dw.part(o * conv.channels * 9, conv.channels * 9) };
        for i in (0..conv.channels).step_by(LANES) {
            let mut points = [[V::splat(0.0); PATCH]; PATCH];
            for y in 0..PATCH {
                for x in 0..PATCH {
                    points[y][x] = V::load(&m[((y * PATCH + x) * part.len() + o - part.start) * conv.channels + i..]);
                }
            }
            let g = twice!(V, points, weights: PATCH -> TAPS);
            let mut lines = [[0.0; LANES]; 9];
            for tap in 0..9 {
                g[tap / 3][tap % 3].store(&mut lines[tap]);
            }
            for l in 0..LANES {
                for tap in 0..9 {
                    filter[(i + l) * 9 + tap] = lines[tap][l];
                }
            }
        }
    }
}

/// The convolution `x → y` with kernels of `conv`, or, turned over, of the cotangents to the input's gradient. `conv` is always
/// the forward one.
#[allow(clippy::too_many_arguments)]
pub fn convolve(pool: &dyn Pool, isa: Isa, conv: &Conv, turned_over: bool, x: &[f32], w: &[f32], y: &mut [f32], epilogue: &Epilogue) {
    let (from, to) = match turned_over {
        false => ((conv.input, conv.channels), (conv.output, conv.features)),
        true => ((conv.output, conv.features), (conv.input, conv.channels)),
    };
    let pads = if turned_over { conv.pads.map(|p| 2 - p) } else { conv.pads };
    assert!(x.len() >= conv.images * from.0[0] * from.0[1] * from.1 && w.len() >= conv.features * conv.channels * 9);
    assert!(y.len() >= conv.images * to.0[0] * to.0[1] * to.1);
    let (depth, width) = (from.1, to.1);
    let (rows, columns) = (to.0[0].div_ceil(TILE), to.0[1].div_ceil(TILE));
    let together = together(conv, rows * columns * (depth + width));
    let parts = parts(depth, width);
    let wide = parts[0].len();
    // u[point][panel][row][column]
    let panel = if isa == Isa::Avx512 { PANEL } else { wide };
    let size = wide.next_multiple_of(panel) * depth;
    let map = Map { data: x, size: from.0, channels: depth };
    let out = Shared::new(y);
    with_scratch(POINTS * together * rows * columns * (depth + wide), |buffer| {
        with_scratch(POINTS * size, |u| {
            for first_image in (0..conv.images).step_by(together) {
                let tiles = Tiles { rows, columns, first_image, images: together.min(conv.images - first_image) };
                let count = tiles.count();
                let (v, rest) = buffer.split_at_mut(POINTS * count * depth);
                let to_v = Shared::new(v);
                pool.run(tiles.images * rows, &|row| transform_patches(isa, map, pads, tiles, row, to_v));
                for part in &parts {
                    if first_image == 0 || parts.len() > 1 {
                        let to_u = Shared::new(u);
                        let pieces = part.len().div_ceil(PANEL);
                        pool.run(pieces * depth.div_ceil(LANES), &|task| {
                            let (piece, first_row) = (task % pieces * PANEL, task / pieces * LANES);
                            for row in first_row..(first_row + LANES).min(depth) {
                                let at = (piece / panel * depth + row) * panel + piece % panel;
                                transform_kernels(isa, w, conv, turned_over, row, part.start + piece, to_u, at, size);
                            }
                        });
                    }
                    let m = &mut rest[..POINTS * count * part.len()];
                    let products = Shared::new(m);
                    let blocks = count.div_ceil(BLOCK);
                    pool.run(POINTS * blocks, &|task| {
                        let (point, start) = (task / blocks, task % blocks * BLOCK);
                        let left = &v[(point * count + start) * depth..(point * count + count.min(start + BLOCK)) * depth];
                        let right = &u[point * size..][..part.len().next_multiple_of(panel) * depth];
                        let at = (point * count + start) * part.len();
                        // SAFETY: every task has its own rows of its own point.
                        let result = unsafe { products.part(at, left.len() / depth * part.len()) };
                        rows_times_panels(isa, left, depth, right, panel, result, part.len());
                    });
                    let tasks = tiles.images * rows;
                    pool.run(tasks, &|row| transform_outputs(isa, m, tiles, row, to.0, width, part.clone(), epilogue, out));
                }
            }
        })
    });
}

/// How many images are transformed at once, of which each has so many tiles times channels.
fn together(conv: &Conv, per_image: usize) -> usize {
    (HELD / (POINTS * per_image).max(1)).clamp(1, conv.images.max(1))
}

/// The columns between `depth` rows and `width` columns of kernels in parts whose transforms are held at once.
fn parts(depth: usize, width: usize) -> Vec<Range<usize>> {
    let step = (KERNELS / (POINTS * depth) / PANEL * PANEL).clamp(PANEL, width.next_multiple_of(PANEL));
    (0..width).step_by(step).map(|start| start..(start + step).min(width)).collect()
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
                };
                for first in (0..rows).step_by(ROWS) {
                    let valid = ROWS.min(rows - first);
                    for r in 0..ROWS {
                        sources[r] = left[(first + r.min(valid - 1)) * depth..].as_ptr();
                        offsets[r] = (first + r) * width + p * panel;
                    }
                    // SAFETY: the processor has AVX-512F; sources are rows of `depth` elements, the panel has `depth·32`, and the
                    // tile's rows and columns are inside `out`, which is this task's own.
                    unsafe { gathered(&sources, ROWS, 1, depth, b.as_ptr(), &target, &offsets[..valid]) };
                }
            }
        }
        _ => multiply(left.len() / depth, width, depth, (out, width), (left, depth, 1), (right, panel), false),
    }
}

/// The gradient of the weights, and of the bias where `db` is given.
pub fn weight_grad(pool: &dyn Pool, isa: Isa, conv: &Conv, x: &[f32], dy: &[f32], dw: &mut [f32], db: Option<&mut [f32]>) {
    let (depth, width) = (conv.channels, conv.features);
    let pixels = conv.images * conv.output_pixels();
    assert!(x.len() >= conv.images * conv.input_pixels() * depth && dy.len() >= pixels * width && dw.len() == width * depth * 9);
    let (rows, columns) = (conv.output[0].div_ceil(TILE), conv.output[1].div_ceil(TILE));
    let together = together(conv, rows * columns * (depth + width));
    let parts = parts(depth, width);
    let inputs = Map { data: x, size: conv.input, channels: depth };
    let outputs = Map { data: dy, size: conv.output, channels: width };
    let dw = Shared::new(dw);
    with_scratch(POINTS * together * rows * columns * (depth + parts[0].len()), |buffer| {
        with_scratch(POINTS * parts[0].len() * depth, |m| {
            for part in &parts {
                // m[point][o][i]; the first images' products are written, the others' added.
                let sums = Shared::new(m);
                for first_image in (0..conv.images).step_by(together) {
                    let tiles = Tiles { rows, columns, first_image, images: together.min(conv.images - first_image) };
                    let count = tiles.count();
                    let (v, e) = buffer.split_at_mut(POINTS * count * depth);
                    let e = &mut e[..POINTS * count * part.len()];
                    let (to_v, to_e) = (Shared::new(v), Shared::new(e));
                    // Patches of all images together stay for the next part.
                    let fresh = part.start == 0 || together < conv.images;
                    pool.run(2 * tiles.images * rows, &|task| match task % 2 {
                        0 if !fresh => {}
                        0 => transform_patches(isa, inputs, conv.pads, tiles, task / 2, to_v),
                        _ => transform_cotangents(isa, outputs, part.clone(), tiles, task / 2, to_e),
                    });
                    let add = first_image > 0;
                    super::weight_grad::outer_products(pool, isa, POINTS, count, (e, part.len()), (v, depth), sums, add);
                }
                pool.run(part.len(), &|o| transform_weights(isa, m, conv, part.clone(), part.start + o, dw));
            }
        })
    });
    if let Some(db) = db {
        super::norm::column_sums(pool, isa, &dy[..pixels * width], width, db);
    }
}
