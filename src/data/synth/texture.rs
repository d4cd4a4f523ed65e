//! The textures: a pattern of two (or three) tones over the plane, with a period of 1.

use libm::{floorf, sinf, sqrtf};
use std::f32::consts::PI;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texture {
    Stripes,
    Checker,
    Dots,
    Zigzag,
    Waves,
    Bricks,
    Rings,
    Plaid,
    Cells,
}

/// 0 ≤ fractional part < 1.
fn fraction(x: f32) -> f32 {
    x - floorf(x)
}

fn half(x: f32) -> f32 {
    if fraction(x) < 0.5 { 1.0 } else { 0.0 }
}

/// The random point of a lattice cell: a hash of its coordinates, each within 0.15…0.85 of the cell.
fn cell_point(i: i32, j: i32) -> [f32; 2] {
    let mut h = (i as u32).wrapping_mul(0x9E37_79B1) ^ (j as u32).wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^= h >> 15;
    let spread = |v: u32| 0.15 + 0.7 * (v & 0xffff) as f32 / 65536.0;
    [i as f32 + spread(h), j as f32 + spread(h >> 16)]
}

impl Texture {
    /// The tone at a point: 0 or 1, for plaid also 0.5.
    pub fn tone(self, [x, y]: [f32; 2]) -> f32 {
        match self {
            Texture::Stripes => half(x),
            Texture::Checker => (half(x) - half(y)).abs(),
            Texture::Dots => {
                // Rows are shifted by half a period.
                let shift = if fraction(y * 0.5) < 0.5 { 0.5 } else { 0.0 };
                let (dx, dy) = (fraction(x + shift) - 0.5, fraction(y) - 0.5);
                if dx * dx + dy * dy < 0.33 * 0.33 { 1.0 } else { 0.0 }
            }
            Texture::Zigzag => half(x + 0.9 * (fraction(y * 0.7) - 0.5).abs()),
            Texture::Waves => half(x + 0.28 * sinf(2.0 * PI * y * 0.6)),
            Texture::Bricks => {
                let shift = if fraction(y * 0.5) < 0.5 { 0.5 } else { 0.0 };
                let mortar = fraction(y) < 0.25 || fraction(x * 0.6 + shift) < 0.17;
                if mortar { 0.0 } else { 1.0 }
            }
            Texture::Rings => half(sqrtf(x * x + y * y)),
            Texture::Plaid => 0.5 * (half(x) + half(y)),
            Texture::Cells => {
                // Near the border between the nearest two random points.
                let (ci, cj) = (floorf(x) as i32, floorf(y) as i32);
                let (mut nearest, mut second) = (f32::MAX, f32::MAX);
                for i in ci - 2..=ci + 2 {
                    for j in cj - 2..=cj + 2 {
                        let [px, py] = cell_point(i, j);
                        let distance = sqrtf((px - x) * (px - x) + (py - y) * (py - y));
                        if distance < nearest {
                            (nearest, second) = (distance, nearest);
                        } else if distance < second {
                            second = distance;
                        }
                    }
                }
                if second - nearest < 0.16 { 0.0 } else { 1.0 }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tones_are_common() {
        use Texture::*;
        for texture in [Stripes, Checker, Dots, Zigzag, Waves, Bricks, Rings, Plaid, Cells] {
            let tones: Vec<f32> =
                (0..200).flat_map(|i| (0..200).map(move |j| [i as f32 / 20.0, j as f32 / 20.0])).map(|p| texture.tone(p)).collect();
            let mean = tones.iter().sum::<f32>() / tones.len() as f32;
            assert!((0.25..0.75).contains(&mean), "{texture:?} has a mean tone of {mean}");
            assert!(tones.iter().all(|t| (0.0..=1.0).contains(t)));
        }
    }
}
