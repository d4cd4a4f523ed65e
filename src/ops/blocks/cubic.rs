//! Cubic interpolation.

/// Keys' kernel at a distance.
pub fn keys(d: f64, a: f64) -> f64 {
    match d {
        _ if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
        _ if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
        _ => 0.0,
    }
}

/// The factors of four neighbours, the second of which lies `s` before the wanted place: Keys' kernel.
pub fn cubic(s: f64, a: f64) -> [f64; 4] {
    [keys(s + 1.0, a), keys(s, a), keys(1.0 - s, a), keys(2.0 - s, a)]
}
