//! TrivialAugment.

use super::choice::{Background, Interpolation};
use super::operation::{Action, ChangeBytes, Operate, Parameter};
use super::padding::background;
use super::policy::{Space, apply};
use crate::data::random::Random;
use image::RgbImage;

/// Müller and Hutter (2021), as torchvision's `TrivialAugmentWide`: one of fourteen changes, at a magnitude by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrivialAugment {
    /// How many magnitudes there are.
    pub bins: u32,
    /// How pixels are found.
    pub interpolation: Interpolation,
    /// What is left free.
    pub fill: Background,
}

impl Default for TrivialAugment {
    fn default() -> Self {
        TrivialAugment { bins: 31, interpolation: Interpolation::Nearest, fill: Background::Black }
    }
}

/// Torchvision's: translations of 32 pixels, whatever the size.
pub(super) const SPACE: Space = Space { shear: 0.99, translate: |_| 32.0, degrees: 135.0, factor: 0.99, bits: 6 };

impl Operate for TrivialAugment {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::whole("bins", &mut self.bins, [2, 1001], "how many magnitudes there are"),
            Parameter::choice("interpolation", &mut self.interpolation, "how pixels are found"),
            Parameter::choice("fill", &mut self.fill, "what is left free"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }
}

impl ChangeBytes for TrivialAugment {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        let fill = background(image, self.fill);
        let bin = |random: &mut Random| random.below(self.bins as usize) as u32;
        let (kind, magnitude) = SPACE.draw(random, bin, self.bins, image.dimensions());
        apply(image, kind, magnitude, self.interpolation, fill);
    }
}
