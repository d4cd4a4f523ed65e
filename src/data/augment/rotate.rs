//! Turning an image.

use super::choice::{Background, Interpolation};
use super::operation::{Action, ChangeBytes, Operate, Parameter};
use super::padding::background;
use super::warp;
use crate::data::random::Random;
use image::RgbImage;

/// torchvision's `RandomRotation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotate {
    /// Most degrees, either way.
    pub degrees: f32,
    /// How pixels are found.
    pub interpolation: Interpolation,
    /// What the corners get.
    pub fill: Background,
}

impl Default for Rotate {
    fn default() -> Self {
        Rotate { degrees: 15.0, interpolation: Interpolation::Bilinear, fill: Background::Black }
    }
}

impl Operate for Rotate {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("degrees", &mut self.degrees, [0.0, 180.0], "most degrees, either way").always(),
            Parameter::choice("interpolation", &mut self.interpolation, "how pixels are found"),
            Parameter::choice("fill", &mut self.fill, "what the corners get"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }
}

impl ChangeBytes for Rotate {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        let angle = random.range(-self.degrees, self.degrees);
        *image = warp::rotate(image, angle.into(), self.interpolation, background(image, self.fill));
    }
}
