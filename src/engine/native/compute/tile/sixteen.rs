//! What becomes of sixteen columns of a row, over any lanes.

use super::super::Element;
use super::super::lanes::{LANES, Lanes};
use super::Target;

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
