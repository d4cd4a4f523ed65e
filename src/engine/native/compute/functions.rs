//! Functions of single numbers, in arithmetic alone, so that sixteen are computed at once. They are the same bits with any instructions: nothing is
//! contracted. What is no number stays so.
//!
//! Polynomials for the error function were fitted in double precision (weighted least squares on Chebyshev points, weights by the error's size until
//! it is even); all others are series.

/// A NaN stays one.
#[inline(always)]
pub fn at_least(x: f32, low: f32) -> f32 {
    if x < low { low } else { x }
}

/// A NaN stays one.
#[inline(always)]
pub fn at_most(x: f32, high: f32) -> f32 {
    if x > high { high } else { x }
}

/// Adding it rounds to the nearest whole number.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first with so few digits that a whole number times it is exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `2ⁿ`, where that is a normal number.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// `n` and `eʳ − 1` with `x = n·ln 2 + r`, |r| ≤ ln 2 / 2, by the Taylor polynomial of degree 7, whose rest is below 2⁻²⁷ there.
#[inline(always)]
fn exponential(x: f32) -> (i32, f32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // The same number, from the last digits of the sum: a conversion has cases of its own for what is no number.
    let whole = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        p = p * r + c;
    }
    (whole, r * r * p + r)
}

/// `eˣ`, within 1.5 units in the last place. Results below the smallest normal number are 0.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (whole, rest) = exponential(at_most(at_least(x, -87.5), 89.0));
    // In two factors, since 2¹²⁸ is no float.
    let half = whole >> 1;
    let scaled = (rest + 1.0) * power_of_two(half) * power_of_two(whole.wrapping_sub(half));
    let scaled = if x < -87.336_55 { 0.0 } else { scaled };
    if x > 88.722_84 { f32::INFINITY } else { scaled }
}

/// `eˣ − 1` for `x ≤ 0`, within 2 units in the last place.
#[inline(always)]
pub fn exp_below_one(x: f32) -> f32 {
    let (whole, rest) = exponential(at_least(x, -20.0));
    let scale = power_of_two(whole);
    scale * rest + (scale - 1.0)
}

/// `tanh x`, within 3 units in the last place.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let e = exp_below_one(x.abs() * -2.0);
    (-e / (e + 2.0)).copysign(x)
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `ln((1 + s) / (1 − s))` without its first term `2s`, relative to that: `Σ s²ᵏ / (2k + 1)`, for `s² ≤ 1/9`.
#[inline(always)]
fn logarithm_rest(square: f32) -> f32 {
    let mut p = 1.0 / 17.0;
    for c in [1.0 / 15.0, 1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0] {
        p = p * square + c;
    }
    p * square
}

/// `ln(1 + eˣ)`, within 3 units in the last place.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let e = exp(-x.abs());
    let s = e / (2.0 + e);
    let twice = 2.0 * s;
    at_least(x, 0.0) + (twice + twice * logarithm_rest(s * s))
}

/// The natural logarithm, within 2 units in the last place; that of a subnormal number is that of 0.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // x = 2ⁿ·m with m between √½ and √2.
    const ROOT: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let offset = x.to_bits().wrapping_sub(ROOT);
    let n = (offset as i32) >> 23;
    let m = f32::from_bits((offset & 0x007f_ffff).wrapping_add(ROOT));
    let (away, n) = (m - 1.0, n as f32);
    let s = away / (2.0 + away);
    let twice = 2.0 * s;
    let value = (n * LN_2[1] + twice * logarithm_rest(s * s)) + twice + n * LN_2[0];
    let value = if x < f32::MIN_POSITIVE { f32::NEG_INFINITY } else { value };
    let value = if x < 0.0 { f32::NAN } else { value };
    if x < f32::INFINITY { value } else { x }
}

/// `erf(√t)/√t − 1` in powers of `t`, for `t ≤ 1`.
const ERF_NEAR: [f32; 7] = [7.889_115e-5, -8.020_84e-4, 5.189_535e-3, -2.685_444_4e-2, 0.112_836, -0.376_126_26, 0.128_379_17];
/// `ln erfc(x)`, for `1 ≤ x ≤ 4`.
const ERF_FAR: [f32; 7] = [1.863_812e-4, -2.947_677_4e-3, 2.183_813_8e-2, -0.103_106_91, -0.638_144_7, -1.127_089_3, -3.414_995e-4];

/// The error function, within 2 units in the last place.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let (mut near, t) = (ERF_NEAR[0], x * x);
    for c in &ERF_NEAR[1..] {
        near = near * t + c;
    }
    let (mut far, bounded) = (ERF_FAR[0], at_most(size, 4.0));
    for c in &ERF_FAR[1..] {
        far = far * bounded + c;
    }
    let far = (1.0 - exp(far)).copysign(x);
    if size < 1.0 { x + x * near } else { far }
}
