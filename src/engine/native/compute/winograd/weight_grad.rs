//! The gradient of the weights.

use super::super::disjoint_slice::{DisjointSlice, add_parts, with_scratch};
use super::super::gemm::multiply;
use super::super::lanes::LANES;
use super::super::norm::column_sums;
use super::super::pack::panel_of;
use super::super::tile::{OUTER_ROWS, Tile};
use super::super::{ConvGeometry, Cores, Element, Isa};
use super::transforms::{Map, Order, Region, Tiles, transform_cotangents, transform_patches, transform_weights};
use super::{POINTS, TASKS};

/// Output and input channels, and tiles, that a task of the weights' gradient has at once.
const FEATURES: usize = 64;
const CHANNELS: usize = 128;
/// Input channels with AVX2, whose processors have half as much of second-level caches, and with NEON, where it was not measured.
const FEWER: usize = 64;
const TURN: usize = 56;

/// The gradient of the weights, and of the bias where `db` is given.
pub fn weight_grad<E: Element>(cores: &Cores, conv: &ConvGeometry, x: &[E], dy: &[E], dw: &mut [f32], db: Option<&mut [f32]>) {
    let (depth, width) = (conv.channels, conv.features);
    let pixels = conv.images * conv.output_pixels();
    assert!(x.len() >= conv.images * conv.input_pixels() * depth && dy.len() >= pixels * width && dw.len() == width * depth * 9);
    let inputs = Map::new(x, conv.images, conv.input, depth);
    let outputs = Map::new(dy, conv.images, conv.output, width);
    let tiles = Tiles::over(conv.images, conv.output);
    let (count, isa) = (tiles.count(), cores.isa());
    // A task has a pair of channel blocks, and a part of the tiles: their sum becomes weights, which are added in the parts' order.
    let across = if matches!(isa, Isa::Avx2(_) | Isa::Neon(_)) { FEWER } else { CHANNELS };
    let (high, wide) = (width.div_ceil(FEATURES), depth.div_ceil(across));
    let turns = count.div_ceil(TURN);
    let parts = TASKS.div_ceil(high * wide).min(turns);
    let size = dw.len();
    with_scratch(if parts > 1 { parts * size } else { 0 }, |partial| {
        let target = if parts > 1 { DisjointSlice::new(partial) } else { DisjointSlice::new(&mut *dw) };
        cores.run(parts * high * wide, &|task| {
            let (part, pair) = (task / (high * wide), task % (high * wide));
            let (o, i) = (pair / wide * FEATURES, pair % wide * across);
            let (o, i) = (o..(o + FEATURES).min(width), i..(i + across).min(depth));
            let (left, right) = match isa {
                Isa::Portable => (Order::new(o.len(), o.len(), TURN), Order::new(i.len(), i.len(), TURN)),
                _ => (Order::new(o.len(), LANES, TURN), Order::new(i.len(), panel_of(isa, i.len()), TURN)),
            };
            let stride = right.panels * right.panel;
            let sums = POINTS * o.len() * stride;
            with_scratch(sums + left.len() + right.len(), |scratch| {
                let (m, scratch) = scratch.split_at_mut(sums);
                let (e, v) = scratch.split_at_mut(left.len());
                m.fill(0.0);
                for turn in part * turns / parts..(part + 1) * turns / parts {
                    let turn = turn * TURN..((turn + 1) * TURN).min(count);
                    transform_patches(isa, inputs, conv.pads, &Region { tiles, range: turn.clone(), part: i.clone() }, right, v);
                    transform_cotangents(isa, outputs, &Region { tiles, range: turn.clone(), part: o.clone() }, left, e);
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
            add_parts(cores, partial, parts, dw);
        }
    });
    if let Some(db) = db {
        column_sums(cores, &dy[..pixels * width], width, db);
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
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(proof, _) => in_tiles((proof, None), count, (left, a), (right, b), out, (rows, columns)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(proof) => in_tiles(proof, count, (left, a), (right, b), out, (rows, columns)),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(proof) => in_tiles(proof, count, (left, a), (right, b), out, (rows, columns)),
        _ => {
            let stride = b.panels * b.panel;
            multiply(rows, stride, count, (out, stride), (left, 1, a.panel), (right, b.panel), true);
        }
    }
}

/// [`outer`] in tiles of a kind.
fn in_tiles<T: Tile>(
    kind: T,
    count: usize,
    (left, a): (&[f32], Order),
    (right, b): (&[f32], Order),
    out: &mut [f32],
    (rows, columns): (usize, usize),
) {
    const { assert!(LANES.is_multiple_of(OUTER_ROWS)) };
    let stride = b.panels * b.panel;
    for panel in 0..b.panels {
        for row in (0..rows).step_by(OUTER_ROWS) {
            let (a, b) = (&left[a.at(0, row)..], &right[b.at(0, panel * b.panel)..]);
            let to = &mut out[row * stride + panel * T::PANEL..];
            // SAFETY: `out` has a tile's rows and columns from here on (rows are a multiple of `LANES`), the sides `count` rows at
            // distances of `LANES` and `PANEL`.
            unsafe { kind.outer(a, LANES, b, count, (to.as_mut_ptr(), stride), columns - panel * T::PANEL) };
        }
    }
}
