//! Turning, moving, scaling and shearing at once.

use super::choice::{Background, Interpolation};
use super::operation::{Action, ChangeBytes, Operate, Parameter};
use super::padding::background;
use super::warp::{inverse_matrix, warp};
use crate::data::random::Random;
use image::RgbImage;

/// torchvision's `RandomAffine`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Most degrees of rotation, either way.
    pub degrees: f32,
    /// Most translation, as a share of width and height.
    pub translate: f32,
    /// Scaled by factors between 1 − scale and 1 + scale.
    pub scale: f32,
    /// Most degrees of shear along the rows, either way.
    pub shear: f32,
    /// How pixels are found.
    pub interpolation: Interpolation,
    /// What is left free.
    pub fill: Background,
}

impl Default for Affine {
    fn default() -> Self {
        Affine { degrees: 10.0, translate: 0.1, scale: 0.1, shear: 0.0, interpolation: Interpolation::Bilinear, fill: Background::Black }
    }
}

impl Operate for Affine {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("degrees", &mut self.degrees, [0.0, 180.0], "most degrees of rotation, either way").always(),
            Parameter::number("translate", &mut self.translate, [0.0, 1.0], "most translation, as a share of each side"),
            Parameter::number("scale", &mut self.scale, [0.0, 0.9], "scaled by 1 − scale to 1 + scale"),
            Parameter::number("shear", &mut self.shear, [0.0, 80.0], "most degrees of shear along the rows, either way"),
            Parameter::choice("interpolation", &mut self.interpolation, "how pixels are found"),
            Parameter::choice("fill", &mut self.fill, "what is left free"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }
}

impl ChangeBytes for Affine {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        let size = [image.width(), image.height()];
        let angle = random.range(-self.degrees, self.degrees);
        // Whole pixels, as torchvision has it.
        let translate = size.map(|n| {
            let most = self.translate * n as f32;
            f64::from(random.range(-most, most).round_ties_even())
        });
        let scale = random.range(1.0 - self.scale, 1.0 + self.scale);
        let shear = random.range(-self.shear, self.shear);
        let center = size.map(|n| f64::from(n) * 0.5);
        let matrix = inverse_matrix(center, angle.into(), translate, scale.into(), [shear.into(), 0.0]);
        *image = warp(image, &matrix, self.interpolation, background(image, self.fill));
    }
}
