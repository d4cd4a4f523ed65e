//! Mirroring by itself.

use super::operation::{Action, ChangeBytes, Operate, Parameter};
use crate::data::random::Random;
use image::RgbImage;
use image::imageops::{flip_horizontal_in_place, flip_vertical_in_place};

/// torchvision's `RandomHorizontalFlip`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HorizontalFlip {
    /// How often.
    pub probability: f32,
}

/// torchvision's `RandomVerticalFlip`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerticalFlip {
    /// How often.
    pub probability: f32,
}

impl Default for HorizontalFlip {
    fn default() -> Self {
        HorizontalFlip { probability: 0.5 }
    }
}

impl Default for VerticalFlip {
    fn default() -> Self {
        VerticalFlip { probability: 0.5 }
    }
}

impl Operate for HorizontalFlip {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![Parameter::number("probability", &mut self.probability, [0.0, 1.0], "how often").always()]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }
}

impl Operate for VerticalFlip {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![Parameter::number("probability", &mut self.probability, [0.0, 1.0], "how often").always()]
    }

    fn action(&self) -> Action<'_> {
        Action::Bytes(self)
    }
}

impl ChangeBytes for HorizontalFlip {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        if random.chance(self.probability) {
            flip_horizontal_in_place(image);
        }
    }
}

impl ChangeBytes for VerticalFlip {
    fn change(&self, image: &mut RgbImage, random: &mut Random) {
        if random.chance(self.probability) {
            flip_vertical_in_place(image);
        }
    }
}
