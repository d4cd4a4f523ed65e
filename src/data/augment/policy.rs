//! The changes of which RandAugment and TrivialAugment choose: torchvision's, on Pillow's images.

use super::choice::Interpolation;
use super::{tone, warp};
use crate::data::random::Random;
use image::RgbImage;

/// One kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

/// In torchvision's order.
pub(super) const KINDS: [Kind; 14] = [
    Kind::Identity,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateX,
    Kind::TranslateY,
    Kind::Rotate,
    Kind::Brightness,
    Kind::Color,
    Kind::Contrast,
    Kind::Sharpness,
    Kind::Posterize,
    Kind::Solarize,
    Kind::AutoContrast,
    Kind::Equalize,
];

/// How strong the changes are at the last of the magnitudes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    pub shear: f64,
    /// Most pixels along a side, from its length.
    pub translate: fn(u32) -> f64,
    pub degrees: f64,
    /// Most that a factor differs from 1.
    pub factor: f64,
    /// Most bits that are lost.
    pub bits: u32,
}

impl Space {
    /// Torchvision's table for an image of that size: the strength of a kind at magnitude `bin` of `bins`, and whether it may be negative.
    pub fn magnitude(&self, kind: Kind, bin: u32, bins: u32, (width, height): (u32, u32)) -> (f64, bool) {
        let line = |start: f64, end: f64| f64::from(linspace(start as f32, end as f32, bins, bin));
        match kind {
            Kind::Identity | Kind::AutoContrast | Kind::Equalize => (0.0, false),
            Kind::ShearX | Kind::ShearY => (line(0.0, self.shear), true),
            Kind::TranslateX => (line(0.0, (self.translate)(width)), true),
            Kind::TranslateY => (line(0.0, (self.translate)(height)), true),
            Kind::Rotate => (line(0.0, self.degrees), true),
            Kind::Brightness | Kind::Color | Kind::Contrast | Kind::Sharpness => (line(0.0, self.factor), true),
            Kind::Posterize => {
                let per_bit = (f64::from(bins.max(2)) - 1.0) / f64::from(self.bits);
                (8.0 - f64::from((bin as f32 / per_bit as f32).round_ties_even()), false)
            }
            Kind::Solarize => (line(255.0, 0.0), false),
        }
    }

    /// A kind by chance, at magnitude `bin`, with a sign by chance where it may have one.
    pub fn draw(&self, random: &mut Random, bin: impl Fn(&mut Random) -> u32, bins: u32, size: (u32, u32)) -> (Kind, f64) {
        let kind = KINDS[random.below(KINDS.len())];
        let (magnitude, signed) = self.magnitude(kind, bin(random), bins, size);
        let negative = signed && random.chance(0.5);
        (kind, if negative { -magnitude } else { magnitude })
    }
}

/// `torch.linspace` in float32: from both ends, so that both are exact.
fn linspace(start: f32, end: f32, steps: u32, at: u32) -> f32 {
    if steps < 2 {
        return start;
    }
    let step = (end - start) / (steps - 1) as f32;
    let back = steps.saturating_sub(at + 1) as f32;
    if at < steps / 2 { libm::fmaf(step, at as f32, start) } else { libm::fmaf(-step, back, end) }
}

/// torchvision's `_apply_op`.
pub(super) fn apply(image: &mut RgbImage, kind: Kind, magnitude: f64, interpolation: Interpolation, fill: [u8; 3]) {
    let factor = (1.0 + magnitude) as f32;
    let shear = libm::atan(magnitude).to_degrees();
    let middle = [f64::from(image.width()) * 0.5, f64::from(image.height()) * 0.5];
    let moved = |image: &RgbImage, center, translate, shear| {
        warp::warp(image, &warp::inverse_matrix(center, 0.0, translate, 1.0, shear), interpolation, fill)
    };
    match kind {
        Kind::Identity => {}
        Kind::ShearX => *image = moved(image, [0.0; 2], [0.0; 2], [shear, 0.0]),
        Kind::ShearY => *image = moved(image, [0.0; 2], [0.0; 2], [0.0, shear]),
        Kind::TranslateX => *image = moved(image, middle, [magnitude.trunc(), 0.0], [0.0; 2]),
        Kind::TranslateY => *image = moved(image, middle, [0.0, magnitude.trunc()], [0.0; 2]),
        Kind::Rotate => *image = warp::rotate(image, magnitude, interpolation, fill),
        Kind::Brightness => tone::brightness(image, factor),
        Kind::Color => tone::saturation(image, factor),
        Kind::Contrast => tone::contrast(image, factor),
        Kind::Sharpness => tone::sharpness(image, factor),
        Kind::Posterize => tone::posterize(image, magnitude as u32),
        Kind::Solarize => tone::solarize(image, magnitude),
        Kind::AutoContrast => tone::autocontrast(image),
        Kind::Equalize => tone::equalize(image),
    }
}
