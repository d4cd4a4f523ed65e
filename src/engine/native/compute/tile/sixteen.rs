//! Tiles of sixteen columns, of which half may be enough, and what becomes of a row of them, over any lanes.

use super::super::isa::Avx512;
use super::super::lanes::{LANES, Lanes};
use super::super::memory::fetch;
use super::super::pack::{LOW, NARROW};
use super::super::{Element, Isa};
use super::{OUTER_ROWS, Target, Tile};

const _: () = assert!(NARROW == LANES);

/// Registers for six rows of sixteen columns.
pub trait Sixteen: Copy + Send + Sync {
    /// [`Tile::isa`].
    fn isa(self) -> Isa;

    /// [`Tile::gathered`] with one or both halves of the columns.
    ///
    /// # Safety
    /// That of [`Tile::gathered`]; with one half, `target` has at most 8 columns.
    unsafe fn gathered<const HALVES: usize, O: Element>(
        self,
        sources: &[*const f32],
        taps: usize,
        depth: usize,
        b: *const f32,
        target: &Target<O>,
        offsets: &[usize],
    );

    /// [`Tile::outer`].
    ///
    /// # Safety
    /// That of [`Tile::outer`].
    unsafe fn outer(self, a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize);

    /// Puts a row into row `k` of panels of `WIDTH` columns ([`spread`](super::super::panels::spread)).
    fn pack<const WIDTH: usize>(self, row: &[f32], panels: &mut [f32], k: usize);
}

impl<T: Sixteen> Tile for T {
    const ROWS: usize = LOW;
    const PANEL: usize = NARROW;

    #[inline(always)]
    fn isa(self) -> Isa {
        Sixteen::isa(self)
    }

    #[inline(always)]
    fn pairs(self) -> Option<Avx512> {
        None
    }

    #[inline(always)]
    unsafe fn gathered<O: Element>(
        self,
        sources: &[*const f32],
        taps: usize,
        depth: usize,
        b: *const f32,
        target: &Target<O>,
        offsets: &[usize],
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            match target.columns {
                0..=8 => Sixteen::gathered::<1, O>(self, sources, taps, depth, b, target, offsets),
                _ => Sixteen::gathered::<2, O>(self, sources, taps, depth, b, target, offsets),
            }
        }
    }

    #[inline(always)]
    unsafe fn outer(self, a: &[f32], a_stride: usize, b: &[f32], depth: usize, out: (*mut f32, usize), columns: usize) {
        debug_assert!(depth == 0 || (a.len() >= a_stride * (depth - 1) + OUTER_ROWS && b.len() >= LANES * depth));
        // SAFETY: the caller's promises.
        unsafe { Sixteen::outer(self, a, a_stride, b, depth, out, columns) }
    }

    #[inline(always)]
    fn pack_left(self, row: &[f32], panels: &mut [f32], k: usize) {
        self.pack::<OUTER_ROWS>(row, panels, k);
    }

    #[inline(always)]
    fn pack_right(self, row: &[f32], panels: &mut [f32], k: usize) {
        self.pack::<NARROW>(row, panels, k);
    }
}

/// Asks for what the results at these places meet where that comes from memory, so that it comes while they are computed.
#[inline(always)]
pub fn ask<O>(target: &Target<O>, offsets: &[usize]) {
    if target.streams {
        for side in [target.addend, target.mask] {
            if !side.is_null() {
                offsets.iter().for_each(|&at| fetch::<1, _>(side.wrapping_add(at)));
            }
        }
    }
}

/// A row's sums with all that they meet at the output's elements from `at` on.
///
/// # Safety
/// That of [`Tile::gathered`](super::Tile::gathered), for at most sixteen columns.
#[inline(always)]
pub unsafe fn met<V: Lanes, O: Element>(sums: V, target: &Target<O>, at: usize) -> V {
    let proof = sums.proof();
    let count = target.columns;
    // SAFETY: `columns` elements exist everywhere, by the caller's promise.
    unsafe {
        let mut v = sums;
        if !target.bias.is_null() {
            v = v.add(read(proof, count, target.bias));
        }
        if target.add {
            v = v.add(read(proof, count, target.out.add(at)));
        }
        if !target.addend.is_null() {
            v = v.add(read(proof, count, target.addend.add(at)));
        }
        let ceiling = V::splat(proof, target.ceiling);
        if target.relu {
            v = v.max(V::splat(proof, 0.0)).min(ceiling);
        }
        if !target.mask.is_null() {
            let mask = read(proof, count, target.mask.add(at));
            v = v.where_positive(mask);
            if target.ceiling < f32::INFINITY {
                v = v.where_positive(ceiling.sub(mask));
            }
        }
        v
    }
}

/// Elements of columns that exist, and zeros.
///
/// # Safety
/// There are `count` elements, at most sixteen.
#[inline(always)]
unsafe fn read<V: Lanes, O: Element>(proof: V::Proof, count: usize, from: *const O) -> V {
    // SAFETY: the caller's promise.
    let from = unsafe { std::slice::from_raw_parts(from, count) };
    if count == LANES {
        return O::load(proof, from);
    }
    let mut all = [O::default(); LANES];
    all[..count].copy_from_slice(from);
    O::load(proof, &all)
}

/// Elements to columns that exist.
///
/// # Safety
/// There are `count` elements, at most sixteen.
#[inline(always)]
pub unsafe fn write<V: Lanes, O: Element>(values: V, count: usize, to: *mut O) {
    // SAFETY: the caller's promise.
    let to = unsafe { std::slice::from_raw_parts_mut(to, count) };
    if count == LANES {
        return O::store(values, to);
    }
    let mut all = [O::default(); LANES];
    O::store(values, &mut all);
    to.copy_from_slice(&all[..count]);
}
