//! What images are made of: float32, or bfloat16 with half of the bytes. Arithmetic is in float32 for both.

use super::disjoint_slice::DisjointSlice;
use super::isa::{Isa, Pairs};
use super::lanes::{LANES, Lanes, for_isa};
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

/// Two bfloat16 in one word, the first in its lower half.
#[inline(always)]
pub fn word(first: bf16, second: bf16) -> f32 {
    f32::from_bits(first.to_bits() as u32 | (second.to_bits() as u32) << 16)
}

/// Words as the bfloat16 that they consist of.
pub fn halves_of(words: &mut [f32]) -> &mut [bf16] {
    // SAFETY: the same bytes, of which any two are a bfloat16 and any four a float32; the alignment is smaller.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

for_isa! {
    /// Elements as sums of two bfloat16: the nearest, and the one that is nearest to the rest (0 where the first is no number).
    pub fn split<V, A>(isa, from: &[A], to: (&mut [bf16], &mut [bf16])) {
        let (near, rests) = (&mut to.0[..from.len()], &mut to.1[..from.len()]);
        let whole = from.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            let value = A::load::<V>(isa, &from[at..]);
            bf16::store(value, &mut near[at..]);
            let rest = value.sub(bf16::load::<V>(isa, &near[at..]));
            // What is no number differs from itself.
            let zero = rest.sub(rest);
            bf16::store(rest.where_equal(zero, V::splat(isa, 0.0)), &mut rests[at..]);
        }
        for ((from, near), rests) in from[whole..].iter().zip(&mut near[whole..]).zip(&mut rests[whole..]) {
            let value = from.to_f32();
            (*near, *rests) = (Element::from_f32(value), rest(value));
        }
    }
}

/// What rounding to bfloat16 leaves, rounded; 0 of what is no number then.
pub fn rest(value: f32) -> bf16 {
    let nearest = bf16::factor(value);
    Element::from_f32(if nearest.is_finite() { value - nearest } else { 0.0 })
}

for_isa! {
    /// Elements of one kind as those of another.
    pub fn convert<V, A, B>(isa, from: &[A], to: &mut [B]) {
        let whole = from.len() / LANES * LANES;
        let to = &mut to[..from.len()];
        for at in (0..whole).step_by(LANES) {
            B::store(A::load::<V>(isa, &from[at..]), &mut to[at..]);
        }
        to[whole..].iter_mut().zip(&from[whole..]).for_each(|(to, v)| *to = B::from_f32(v.to_f32()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    /// Both parts together have sixteen digits; what is no number has no rest.
    #[test]
    fn numbers_in_two_parts() {
        let mut values: Vec<f32> = super::super::cases::numbers(100, 3).iter().map(|v| v * 1e3).collect();
        values.extend([0.0, f32::MIN_POSITIVE, 1.0 + f32::EPSILON, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX]);
        for isa in Isa::available() {
            let (mut near, mut rests) = (vec![bf16::NAN; values.len()], vec![bf16::NAN; values.len()]);
            split(isa, &values, (&mut near, &mut rests));
            for ((value, near), rests) in values.iter().zip(near).zip(rests) {
                assert_eq!(near.to_bits(), <bf16 as Element>::from_f32(*value).to_bits(), "{isa:?}, {value}");
                let both = near.to_f32() + rests.to_f32();
                match near.to_f32().is_finite() {
                    true => assert!(
                        (f64::from(both) - f64::from(*value)).abs() <= f64::from(value.abs()) / 131072.0,
                        "{isa:?}, {value}: {both}"
                    ),
                    false => assert_eq!(rests.to_f32(), 0.0, "{isa:?}, {value}"),
                }
            }
        }
    }

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
