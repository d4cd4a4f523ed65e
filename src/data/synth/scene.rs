//! One image: a background with clutter, the motif in random colours and position, noise.

use super::shape::{Emblem, Outline};
use super::texture::Texture;
use crate::data::random::Random;
use image::{Rgb, RgbImage};
use libm::{cosf, sinf};
use std::f32::consts::PI;

/// What makes an image belong to its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Motif {
    Emblem(Emblem),
    Texture(Texture),
}

/// Motifs are turned by at most so much (radians): enough to matter, yet learnable from few images.
const TURN: f32 = 0.35;

/// Red, green and blue, 0…1.
type Color = [f32; 3];
type Point = [f32; 2];

/// Any colour, but strong ones are rarer.
fn color(random: &mut Random) -> Color {
    let any = [random.unit(), random.unit(), random.unit()];
    mix(any, [luma(any); 3], random.range(0.2, 0.8))
}

fn luma([r, g, b]: Color) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

fn mix(a: Color, b: Color, t: f32) -> Color {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// A colour that stands out from another one in brightness, so that grey networks can do the tasks too.
fn contrasting(random: &mut Random, other: Color, least: f32) -> Color {
    // The bounded search always succeeds for `least` < 0.5 in practice; black or white always differ by 0.5 or more.
    for _ in 0..50 {
        let candidate = color(random);
        if (luma(candidate) - luma(other)).abs() >= least {
            return candidate;
        }
    }
    if luma(other) > 0.5 { [0.0; 3] } else { [1.0; 3] }
}

/// Image coordinates (-1…1) to those of the motif: shift, rotate, scale by axis, mirror.
struct Frame {
    center: Point,
    rows: [Point; 2],
}

impl Frame {
    /// Turned by up to ±`turn`, stretched by up to ±`stretch` along any axis, mirrored at random.
    fn new(random: &mut Random, center: Point, scale: f32, turn: f32, stretch: f32) -> Frame {
        let angle = random.range(-turn, turn);
        let axis = random.range(0.0, 2.0 * PI);
        let longer = 1.0 + random.range(-stretch, stretch);
        let mirror = if random.chance(0.5) { -1.0 } else { 1.0 };
        // Turn the axis to x, stretch, turn back: R(axis) · S · R(angle − axis); then mirror, and let y point up.
        let (c, s) = (cosf(angle - axis), sinf(angle - axis));
        let (sx, sy) = (1.0 / (scale * longer), longer / scale);
        let stretched = [[c * sx, s * sx], [-s * sy, c * sy]];
        let (c, s) = (cosf(axis), sinf(axis));
        let row = |a: f32, b: f32| [a * stretched[0][0] + b * stretched[1][0], a * stretched[0][1] + b * stretched[1][1]];
        Frame { center, rows: [row(mirror * c, mirror * s), row(s, -c)] }
    }

    fn apply(&self, [x, y]: Point) -> Point {
        let (x, y) = (x - self.center[0], y - self.center[1]);
        [self.rows[0][0] * x + self.rows[0][1] * y, self.rows[1][0] * x + self.rows[1][1] * y]
    }
}

/// A gradient between two colours and a coarse lattice of random tints between its points.
struct Background {
    from: Color,
    to: Color,
    direction: Point,
    tints: [[Color; 5]; 5],
    strength: f32,
}

impl Background {
    fn new(random: &mut Random) -> Background {
        let from = color(random);
        let to = mix(from, color(random), random.range(0.0, 0.35));
        let angle = random.range(0.0, 2.0 * PI);
        let mut tints = [[[0.0; 3]; 5]; 5];
        tints.iter_mut().flatten().flatten().for_each(|v| *v = random.range(-1.0, 1.0));
        Background { from, to, direction: [cosf(angle), sinf(angle)], tints, strength: random.range(0.02, 0.1) }
    }

    fn middle(&self) -> Color {
        mix(self.from, self.to, 0.5)
    }

    fn at(&self, [x, y]: Point) -> Color {
        let t = (0.5 + 0.4 * (x * self.direction[0] + y * self.direction[1])).clamp(0.0, 1.0);
        let base = mix(self.from, self.to, t);
        let cell = |v: f32| {
            let scaled = ((v + 1.0) * 2.0).clamp(0.0, 3.999);
            (scaled as usize, scaled - (scaled as usize) as f32)
        };
        let ((i, u), (j, v)) = (cell(x), cell(y));
        let tint = mix(mix(self.tints[i][j], self.tints[i + 1][j], u), mix(self.tints[i][j + 1], self.tints[i + 1][j + 1], u), v);
        [base[0] + self.strength * tint[0], base[1] + self.strength * tint[1], base[2] + self.strength * tint[2]]
    }
}

/// A thing that is in the way: a bar or a blob.
struct Clutter {
    frame: Frame,
    half: Point,
    round: bool,
    color: Color,
}

impl Clutter {
    fn new(random: &mut Random) -> Clutter {
        let center = [random.range(-1.0, 1.0), random.range(-1.0, 1.0)];
        let frame = Frame::new(random, center, 1.0, PI, 0.0);
        let bar = random.chance(0.5);
        let half =
            if bar { [random.range(0.3, 0.9), random.range(0.03, 0.07)] } else { [random.range(0.06, 0.2), random.range(0.06, 0.2)] };
        Clutter { frame, half, round: !bar, color: color(random) }
    }

    fn covers(&self, point: Point) -> bool {
        let [x, y] = self.frame.apply(point);
        let (x, y) = (x / self.half[0], y / self.half[1]);
        if self.round { x * x + y * y < 1.0 } else { x.abs() < 1.0 && y.abs() < 1.0 }
    }
}

/// How the inside of a shape is painted.
enum Fill {
    Plain,
    Gradient,
    Pattern(Texture, Frame),
}

struct Figure {
    outline: Outline,
    frame: Frame,
    fill: Fill,
}

pub(super) struct Scene {
    background: Background,
    figure: Option<Figure>,
    texture: Option<(Texture, Frame)>,
    /// The motif's two tones.
    colors: [Color; 2],
    behind: Vec<Clutter>,
    front: Vec<Clutter>,
}

impl Scene {
    pub fn new(motif: Motif, random: &mut Random) -> Scene {
        let background = Background::new(random);
        let main = contrasting(random, background.middle(), 0.28);
        let (figure, texture, second) = match motif {
            Motif::Emblem(shape) => {
                let scale = random.range(0.6, 0.9);
                let room = 0.9 * (1.0 - scale);
                let center = [random.range(-room, room), random.range(-room, room)];
                let frame = Frame::new(random, center, scale, TURN, 0.16);
                let fill = match random.below(4) {
                    0 | 1 => Fill::Plain,
                    2 => Fill::Gradient,
                    _ => {
                        let pattern = [Texture::Stripes, Texture::Checker, Texture::Dots][random.below(3)];
                        let scale = random.range(0.25, 0.5);
                        Fill::Pattern(pattern, Frame::new(random, center, scale, PI, 0.1))
                    }
                };
                let second = mix(main, color(random), random.range(0.1, 0.4));
                (Some(Figure { outline: shape.outline(), frame, fill }), None, second)
            }
            Motif::Texture(texture) => {
                let scale = random.range(0.36, 0.72);
                let center = [random.range(-0.8, 0.8), random.range(-0.8, 0.8)];
                let second = contrasting(random, main, 0.22);
                (None, Some((texture, Frame::new(random, center, scale, TURN, 0.16))), second)
            }
        };
        let clutter = |random: &mut Random, most: usize| (0..random.below(most + 1)).map(|_| Clutter::new(random)).collect::<Vec<_>>();
        let behind = clutter(random, 3);
        let front = clutter(random, 1);
        Scene { background, figure, texture, colors: [main, second], behind, front }
    }

    /// The colour at a point of the square from -1 to 1.
    fn at(&self, point: Point) -> Color {
        if let Some(item) = self.front.iter().find(|c| c.covers(point)) {
            return item.color;
        }
        let [main, second] = self.colors;
        if let Some(figure) = &self.figure {
            let inner = figure.frame.apply(point);
            if figure.outline.covers(inner) {
                return match &figure.fill {
                    Fill::Plain => main,
                    Fill::Gradient => mix(main, second, (0.5 + 0.5 * inner[1]).clamp(0.0, 1.0)),
                    Fill::Pattern(texture, frame) => mix(main, second, texture.tone(frame.apply(point))),
                };
            }
        }
        if let Some((texture, frame)) = &self.texture {
            // Lit by the background's gradient, so that the tones vary over the image.
            let light = self.background.at(point);
            return mix(mix(main, second, texture.tone(frame.apply(point))), light, 0.25);
        }
        match self.behind.iter().find(|c| c.covers(point)) {
            Some(item) => item.color,
            None => self.background.at(point),
        }
    }

    /// `size`×`size` pixels, each the mean of 4×4 points; then normal noise of the given deviation (0…1 scale).
    pub fn render(&self, size: u32, noise: f32, random: &mut Random) -> RgbImage {
        const POINTS: u32 = 4;
        let step = 2.0 / (size * POINTS) as f32;
        let mut image = RgbImage::new(size, size);
        for (px, py, pixel) in image.enumerate_pixels_mut() {
            let mut sum = [0.0f32; 3];
            for i in 0..POINTS * POINTS {
                let (sx, sy) = (px * POINTS + i % POINTS, py * POINTS + i / POINTS);
                let sample = self.at([(sx as f32 + 0.5) * step - 1.0, (sy as f32 + 0.5) * step - 1.0]);
                sum.iter_mut().zip(sample).for_each(|(s, v)| *s += v);
            }
            *pixel = Rgb(sum.map(|s| {
                let value = s / (POINTS * POINTS) as f32 + noise * random.normal();
                (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
            }));
        }
        image
    }
}
