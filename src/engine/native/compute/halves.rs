//! Elements in other types: in words of two bfloat16, as the sum of two of them, as those of another kind.

use super::element::Element;
use super::for_isa::for_isa;
use super::lanes::LANES;
use half::bf16;

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
}
