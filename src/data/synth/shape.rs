//! The shapes: which points of the plane they cover. Every shape fits into a circle of radius 1 around the origin,
//! more or less fills it, and is oriented at random by the scene.

use libm::{cosf, sinf};
use std::f32::consts::PI;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Emblem {
    Disk,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Pentagon,
    Crescent,
    Heart,
    Arrow,
    Tee,
    Ell,
}

/// A shape that is ready to be asked: polygons have their corners worked out.
pub(super) enum Outline {
    Polygon(Vec<[f32; 2]>),
    /// Between two radii around the origin.
    Annulus(f32, f32),
    Crescent,
    Heart,
}

/// Corners at equal angles, with the radii taken in turn.
fn radial(corners: usize, radii: &[f32]) -> Outline {
    let corner = |(i, &r): (usize, &f32)| {
        let angle = 2.0 * PI * i as f32 / corners as f32;
        [r * sinf(angle), r * cosf(angle)]
    };
    Outline::Polygon(radii.iter().cycle().take(corners).enumerate().map(corner).collect())
}

impl Emblem {
    pub fn outline(self) -> Outline {
        match self {
            Emblem::Disk => Outline::Annulus(0.0, 0.85),
            Emblem::Ring => Outline::Annulus(0.5, 0.92),
            Emblem::Triangle => radial(3, &[1.0]),
            Emblem::Square => radial(4, &[1.0]),
            Emblem::Pentagon => radial(5, &[0.95]),
            Emblem::Star => radial(10, &[1.0, 0.42]),
            Emblem::Cross => {
                let (a, b) = (0.3, 0.92);
                Outline::Polygon(vec![
                    [-a, b],
                    [a, b],
                    [a, a],
                    [b, a],
                    [b, -a],
                    [a, -a],
                    [a, -b],
                    [-a, -b],
                    [-a, -a],
                    [-b, -a],
                    [-b, a],
                    [-a, a],
                ])
            }
            Emblem::Arrow => {
                Outline::Polygon(vec![[0.0, 1.0], [0.75, 0.1], [0.28, 0.1], [0.28, -0.9], [-0.28, -0.9], [-0.28, 0.1], [-0.75, 0.1]])
            }
            Emblem::Tee => Outline::Polygon(vec![
                [-0.8, 0.8],
                [0.8, 0.8],
                [0.8, 0.25],
                [0.28, 0.25],
                [0.28, -0.85],
                [-0.28, -0.85],
                [-0.28, 0.25],
                [-0.8, 0.25],
            ]),
            Emblem::Ell => Outline::Polygon(vec![[-0.65, 0.85], [-0.1, 0.85], [-0.1, -0.25], [0.7, -0.25], [0.7, -0.8], [-0.65, -0.8]]),
            Emblem::Crescent => Outline::Crescent,
            Emblem::Heart => Outline::Heart,
        }
    }
}

impl Outline {
    pub fn covers(&self, [x, y]: [f32; 2]) -> bool {
        match self {
            Outline::Annulus(inner, outer) => {
                let square = x * x + y * y;
                square >= inner * inner && square <= outer * outer
            }
            Outline::Crescent => {
                let shifted = x - 0.45;
                x * x + y * y <= 0.9 && shifted * shifted + y * y >= 0.5
            }
            Outline::Heart => {
                let (x, y) = (1.2 * x, 1.2 * y + 0.1);
                let a = x * x + y * y - 1.0;
                a * a * a <= x * x * y * y * y
            }
            // Even-odd rule: count the edges to the right of the point.
            Outline::Polygon(corners) => {
                let mut inside = false;
                let mut previous = corners[corners.len() - 1];
                for &corner in corners {
                    let ([ax, ay], [bx, by]) = (previous, corner);
                    if (ay > y) != (by > y) && x < ax + (bx - ax) * (y - ay) / (by - ay) {
                        inside = !inside;
                    }
                    previous = corner;
                }
                inside
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Emblem; 12] = [
        Emblem::Disk,
        Emblem::Square,
        Emblem::Triangle,
        Emblem::Star,
        Emblem::Ring,
        Emblem::Cross,
        Emblem::Pentagon,
        Emblem::Crescent,
        Emblem::Heart,
        Emblem::Arrow,
        Emblem::Tee,
        Emblem::Ell,
    ];

    /// Share of the square from -1.2 to 1.2 that each shape covers, and the largest radius.
    fn measure(shape: Emblem) -> (f32, f32) {
        let outline = shape.outline();
        let (mut hits, mut radius) = (0, 0.0f32);
        for i in 0..240 {
            for j in 0..240 {
                let p = [(i as f32 - 119.5) / 100.0, (j as f32 - 119.5) / 100.0];
                if outline.covers(p) {
                    hits += 1;
                    radius = radius.max((p[0] * p[0] + p[1] * p[1]).sqrt());
                }
            }
        }
        (hits as f32 / 57600.0, radius)
    }

    #[test]
    fn shapes_fill_the_unit_circle() {
        for shape in ALL {
            let (area, radius) = measure(shape);
            assert!(radius > 0.8 && radius < 1.15, "{shape:?} reaches {radius}");
            assert!(area > 0.15 && area < 0.5, "{shape:?} covers {area}");
        }
    }

    #[test]
    fn areas_are_those_of_geometry() {
        let square = 2.4f32 * 2.4;
        assert!((measure(Emblem::Square).0 * square - 2.0).abs() < 0.02);
        assert!((measure(Emblem::Disk).0 * square - PI * 0.85 * 0.85).abs() < 0.02);
        assert!((measure(Emblem::Triangle).0 * square - 3.0 * 3.0f32.sqrt() / 4.0).abs() < 0.02);
    }
}
