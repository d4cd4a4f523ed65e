//! Sixteen numbers side by side, against single ones.

use super::Isa;
use super::cases::numbers;
use super::for_isa::for_isa;
use super::lanes::LANES;

for_isa! {
    /// What each method makes of sixteen numbers, one after the other.
    fn all_methods<V>(isa, a: &[f32], b: &[f32], c: &[f32], out: &mut [f32]) {
        let (a, b, c) = (V::load(isa, a), V::load(isa, b), V::load(isa, c));
        let made = [
            V::splat(isa, 3.0),
            // SAFETY: no element is read.
            unsafe { V::load_where(isa, 0, std::ptr::null()) },
            a.add(b),
            a.sub(b),
            a.mul(b),
            a.max(b),
            a.min(b),
            a.where_positive(c),
            a.where_equal(b, c),
            a.unless_equal(b, c),
            a.of_group::<1>(0),
            a.of_group::<2>(0),
            a.of_group::<2>(1),
            a.of_group::<4>(1),
            a.of_group::<4>(2),
            a.of_group::<8>(3),
            a.of_group::<8>(4),
            a.of_group::<8>(7),
            a.mul_add(b, c),
        ];
        made.iter().enumerate().for_each(|(nth, v)| v.store(&mut out[nth * LANES..]));
    }
}

/// Against what the methods say of single numbers, also of what is no number.
#[test]
fn methods_are_those_of_single_numbers() {
    let (mut a, mut b, mut c) = (numbers(LANES, 1), numbers(LANES, 2), numbers(LANES, 3));
    (a[1], a[2], a[3]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    (c[4], c[5], c[6], c[1]) = (f32::NAN, 0.0, -0.0, 1.0);
    for same in [7, 8, 11] {
        c[same] = b[same];
    }
    (b[9], c[9]) = (0.0, -0.0);
    (b[10], c[10]) = (f32::NAN, f32::NAN);
    let of_group = |width: usize, nth: usize| (0..LANES).map(|i| a[i / width * width + nth]).collect::<Vec<_>>();
    let each = |what: &dyn Fn(f32, f32, f32) -> f32| (0..LANES).map(|i| what(a[i], b[i], c[i])).collect::<Vec<_>>();
    let expected = [
        each(&|_, _, _| 3.0),
        each(&|_, _, _| 0.0),
        each(&|a, b, _| a + b),
        each(&|a, b, _| a - b),
        each(&|a, b, _| a * b),
        each(&|a, b, _| if a > b { a } else { b }),
        each(&|a, b, _| if a < b { a } else { b }),
        each(&|a, _, c| if c > 0.0 { a } else { 0.0 }),
        each(&|a, b, c| if b == c { a } else { 0.0 }),
        each(&|a, b, c| if b == c { 0.0 } else { a }),
        of_group(1, 0),
        of_group(2, 0),
        of_group(2, 1),
        of_group(4, 1),
        of_group(4, 2),
        of_group(8, 3),
        of_group(8, 4),
        of_group(8, 7),
        each(&|a, b, c| a.mul_add(b, c)),
    ];
    for isa in Isa::available() {
        let mut out = vec![f32::INFINITY; expected.len() * LANES];
        all_methods(isa, &a, &b, &c, &mut out);
        for (nth, (out, expected)) in out.chunks(LANES).zip(&expected).enumerate() {
            for (lane, (found, expected)) in out.iter().zip(expected).enumerate() {
                let (a, b) = (a[lane], b[lane]);
                // Of a larger or smaller number and what is none, either may come where that is the second one.
                let open = matches!(nth, 5 | 6) && b.is_nan() && (found.is_nan() || *found == a);
                // Rounded once or twice.
                let twice = nth == 18 && (found - expected).abs() <= ((a * b).abs() + c[lane].abs()) * f32::EPSILON;
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                assert!(same || open || twice, "{}: {nth}th, lane {lane}: {found}, not {expected}", isa.name());
            }
        }
    }
}
