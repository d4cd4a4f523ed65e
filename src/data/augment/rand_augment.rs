//! RandAugment.

use super::choice::{Background, Interpolation};
use super::operation::{Action, ChangeBytes, Operate, Parameter};
use super::padding::background;
use super::policy::{Space, apply};
use crate::data::random::Random;
use image::RgbImage;

/// Cubuk et al. (2020), as torchvision's `RandAugment`: `number` of fourteen changes one after another, all at one magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandAugment {
    /// Changes for each image.
    pub number: u32,
    /// Their magnitude, from 0 to `bins` − 1.
    pub magnitude: u32,
    /// How many magnitudes there are.
    pub bins: u32,
    /// How pixels are found.
    pub interpolation: Interpolation,
    /// What is left free.
    pub fill: Background,
}

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment { number: 2, magnitude: 9, bins: 31, interpolation: Interpolation::Nearest, fill: Background::Black }
    }
}

/// Torchvision's.
pub(super) const SPACE: Space =
    Space { shear: 0.3, translate: |side| 150.0 / 331.0 * f64::from(side), degrees: 30.0, factor: 0.9, bits: 4 };

impl Operate for RandAugment {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::whole("number", &mut self.number, [1, 14], "changes for each image").always(),
            Parameter::whole("magnitude", &mut self.magnitude, [0, 1000], "how strong they are, below bins").always(),
            Parameter::whole("bins", &mut self.bins, [2, 1001], "how many magnitudes there are"),
            Parameter::choice("interpolation", &mut self.interpolation, "how pixels are found"),
            Parameter::choice("fill", &mut self.fill, "what is left free"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }

    fn conflict(&self) -> Option<String> {
        let last = self.bins.saturating_sub(1);
        (self.magnitude > last).then(|| format!("of {} bins, magnitude {} is none: give at most {last}", self.bins, self.magnitude))
    }
}

impl ChangeBytes for RandAugment {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        let fill = background(image, self.fill);
        let bin = self.magnitude.min(self.bins.saturating_sub(1));
        for _ in 0..self.number {
            let (kind, magnitude) = SPACE.draw(random, |_| bin, self.bins, image.dimensions());
            apply(image, kind, magnitude, self.interpolation, fill);
        }
    }
}
