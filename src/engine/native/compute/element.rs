//! What images are made of: float32, or bfloat16 with half of the bytes. Arithmetic is in float32 for both.

use super::disjoint_slice::DisjointSlice;
use super::isa::{Isa, Pairs};
use super::lanes::{LANES, Lanes};
#[cfg(target_arch = "x86_64")]
use super::stored::Stored;
use half::bf16;

/// Nothing besides, where there are no tiles.
#[cfg(not(target_arch = "x86_64"))]
pub trait Stored {}
#[cfg(not(target_arch = "x86_64"))]
impl<T> Stored for T {}

/// An element of an image.
pub trait Element: Stored + Copy + Default + Send + Sync + 'static {
    /// Whether a float32 is rounded on the way to one.
    const ROUNDS: bool;

    /// The instructions that multiply pairs of such elements, where there are any.
    fn pairs(isa: Isa) -> Option<Pairs> {
        isa.pairs().filter(|_| Self::ROUNDS)
    }

    fn to_f32(self) -> f32;
    /// To the nearest, ties to the even one; a NaN stays one.
    fn from_f32(value: f32) -> Self;
    /// The elements as float32, where they are some.
    fn floats(elements: &[Self]) -> Option<&[f32]>;
    /// The elements as bfloat16, where they are some.
    fn halves(elements: &[Self]) -> Option<&[bf16]>;
    /// The buffer, where sums in float32 can be made in it.
    fn sums(out: DisjointSlice<'_, Self>) -> Option<DisjointSlice<'_, f32>>;
    /// The first sixteen elements.
    fn load<V: Lanes>(proof: V::Proof, from: &[Self]) -> V;
    /// [`Lanes::load_where`].
    ///
    /// # Safety
    /// There are sixteen elements, or the mask is 0: then the address may be any.
    unsafe fn load_where<V: Lanes>(proof: V::Proof, mask: u16, from: *const Self) -> V;
    /// To the first sixteen elements.
    fn store<V: Lanes>(values: V, to: &mut [Self]);

    /// A factor of a product with such elements: rounded as they are.
    #[inline(always)]
    fn factor(value: f32) -> f32 {
        Self::from_f32(value).to_f32()
    }
}

impl Element for f32 {
    const ROUNDS: bool = false;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> f32 {
        value
    }

    fn floats(elements: &[f32]) -> Option<&[f32]> {
        Some(elements)
    }

    fn halves(_: &[f32]) -> Option<&[bf16]> {
        None
    }

    fn sums(out: DisjointSlice<'_, f32>) -> Option<DisjointSlice<'_, f32>> {
        Some(out)
    }

    #[inline(always)]
    fn load<V: Lanes>(proof: V::Proof, from: &[f32]) -> V {
        V::load(proof, from)
    }

    #[inline(always)]
    unsafe fn load_where<V: Lanes>(proof: V::Proof, mask: u16, from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_where(proof, mask, from) }
    }

    #[inline(always)]
    fn store<V: Lanes>(values: V, to: &mut [f32]) {
        values.store(to);
    }
}

impl Element for bf16 {
    const ROUNDS: bool = true;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits((self.to_bits() as u32) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> bf16 {
        let bits = value.to_bits();
        // Half of the last place, and less by the smallest step where the last digit is even.
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        let bits = if value.is_nan() { bits | 0x0040_0000 } else { rounded };
        bf16::from_bits((bits >> 16) as u16)
    }

    fn floats(_: &[bf16]) -> Option<&[f32]> {
        None
    }

    fn halves(elements: &[bf16]) -> Option<&[bf16]> {
        Some(elements)
    }

    fn sums(_: DisjointSlice<'_, bf16>) -> Option<DisjointSlice<'_, f32>> {
        None
    }

    #[inline(always)]
    fn load<V: Lanes>(proof: V::Proof, from: &[bf16]) -> V {
        V::load_half(proof, from)
    }

    #[inline(always)]
    unsafe fn load_where<V: Lanes>(proof: V::Proof, mask: u16, from: *const bf16) -> V {
        match mask {
            0 => V::splat(proof, 0.0),
            // SAFETY: sixteen elements by the caller's promise.
            _ => V::load_half(proof, unsafe { std::slice::from_raw_parts(from, LANES) }),
        }
    }

    #[inline(always)]
    fn store<V: Lanes>(values: V, to: &mut [bf16]) {
        values.store_half(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the `half` crate, which rounds by itself.
    #[test]
    fn bfloat16_is_rounded_to_the_nearest() {
        let mut bits = 1u32;
        for _ in 0..1_000_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let value = f32::from_bits(bits);
            let (own, theirs) = (<bf16 as Element>::from_f32(value), bf16::from_f32(value));
            assert_eq!(own.to_bits(), theirs.to_bits(), "{value:e} ({bits:x})");
            assert!(own.is_nan() || Element::to_f32(own) == theirs.to_f32());
        }
    }
}
