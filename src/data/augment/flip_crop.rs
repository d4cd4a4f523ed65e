//! A random window of the resized image.

use super::choice::Padding;
use super::operation::{Action, Crop, Operate, Parameter};
use super::padding::padded_window;
use crate::data::preprocess::Recipe;
use crate::data::random::Random;
use crate::error::Result;
use image::RgbImage;
use ndarray::{Axis, CowArray, Ix3};

/// The image resized by its shorter side, of which a random window is taken and mirrored: the paper's. torchvision's `RandomCrop` and
/// `RandomHorizontalFlip` after `Resize`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlipCrop {
    /// Pixels that are added on each side first: for small images whose resize size is the input size (4 for 32×32).
    pub pad: u32,
    /// What they are.
    pub fill: Padding,
    /// How often the window is mirrored.
    pub flip: f32,
}

impl Default for FlipCrop {
    fn default() -> Self {
        FlipCrop { pad: 0, fill: Padding::Border, flip: 0.5 }
    }
}

impl Operate for FlipCrop {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::whole("pad", &mut self.pad, [0, 256], "pixels added on each side first"),
            Parameter::choice("fill", &mut self.fill, "what is added"),
            Parameter::number("flip", &mut self.flip, [0.0, 1.0], "probability of mirroring left to right"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Crop(self)
    }
}

impl Crop for FlipCrop {
    fn wants_resized(&self) -> bool {
        true
    }

    fn crop<'i>(&self, image: &'i RgbImage, recipe: &Recipe, random: &mut Random) -> Result<CowArray<'i, u8, Ix3>> {
        let mut start = |outer: u32, inner: u32| {
            let room = outer.saturating_sub(inner) as usize + 2 * self.pad as usize;
            random.below(room + 1) as i64 - i64::from(self.pad)
        };
        let corner = (start(image.width(), recipe.width), start(image.height(), recipe.height));
        let mut pixels = padded_window(image, corner, (recipe.width, recipe.height), self.fill)?;
        if random.chance(self.flip) {
            pixels.invert_axis(Axis(1));
        }
        Ok(pixels)
    }
}
