//! Random changes to training images.
//!
//! A recipe is a list of operations, which are done in the order of the table ([`OPERATIONS`]), whatever the order of its text:
//!
//! 1. **crop**: the part of the image that is taken, at the size of the network's input; the central one without such an operation;
//! 2. **bytes**: changes of pixels with 8 bits, where torchvision changes Pillow's images;
//! 3. **values**: changes of red, green and blue between 0 and 1, where torchvision changes tensors; then the channels' order, mean and
//!    standard deviation as the network wants them;
//! 4. **input**: changes of what enters the network;
//! 5. **batch**: two images of a batch become one, and their targets with them.
//!
//! Every choice depends on (seed, epoch, sample) alone, those of a batch on (seed, epoch, number of the batch), so neither the order of the work nor
//! the number of threads changes what a run sees. Every operation has random numbers of its own: one more in a recipe leaves those of the others.

mod affine;
mod blur;
mod choice;
mod color;
mod cutmix;
mod describe;
mod erase;
mod flip_crop;
#[cfg(test)]
mod golden_tests;
mod gray;
mod mirror;
mod mixing;
mod mixup;
mod operation;
mod padding;
mod policies;
mod policy;
mod rand_augment;
mod resized_crop;
mod rotate;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod tone;
mod trivial_augment;
mod warp;

pub use affine::Affine;
pub use blur::Blur;
pub use choice::{Background, Erased, Interpolation, Padding};
pub use color::Color;
pub use cutmix::Cutmix;
pub use describe::{Described, list};
pub use erase::Erase;
pub use flip_crop::FlipCrop;
pub use gray::Gray;
pub use mirror::{HorizontalFlip, VerticalFlip};
pub use mixing::{Mixed, Mixing};
pub use mixup::Mixup;
pub use policies::{POLICIES, Policy};
pub use rand_augment::RandAugment;
pub use resized_crop::ResizedCrop;
pub use rotate::Rotate;
pub use table::{OPERATIONS, Operation};
pub use trivial_augment::TrivialAugment;

use crate::data::preprocess::{self, Recipe, Region};
use crate::data::random::{Purpose, Random};
use crate::error::{Error, Result};
use image::RgbImage;
use ndarray::{ArrayViewMut3, CowArray, Ix3};
use operation::{Action, Crop};
use std::fmt;
use std::str::FromStr;

/// A way to augment. As text, `none` or operations joined by `+`, each `name[:value,…,parameter=value,…]`; it reads back to itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Augment {
    /// In the order of the table, each once.
    operations: Vec<Operation>,
}

/// A point in training that random changes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// The run's seed.
    pub seed: u64,
    /// The epoch, from 0.
    pub epoch: u64,
}

impl Augment {
    /// The central part, unchanged.
    pub const NONE: Augment = Augment { operations: vec![] };

    /// With one operation more, or instead of the one of its kind; of several crops the last counts.
    #[must_use]
    pub fn with(mut self, operation: impl Into<Operation>) -> Augment {
        let operation = operation.into();
        let crop = |o: &Operation| matches!(o.action(), Action::Crop(_));
        self.operations.retain(|o| o.name() != operation.name() && !(crop(o) && crop(&operation)));
        self.operations.push(operation);
        self.operations.sort_by_key(Operation::place);
        self
    }

    /// What is done, in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Whether images come out as in evaluation.
    pub fn is_none(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether images are mixed, so that the step needs probabilities of the classes as its target.
    pub fn needs_soft_targets(&self) -> bool {
        self.operations.iter().any(Operation::mixes)
    }

    /// What mixes batches.
    pub(crate) fn mixing(&self) -> Option<Mixing> {
        let mixing: Vec<Operation> = self.operations.iter().filter(|o| o.mixes()).copied().collect();
        (!mixing.is_empty()).then_some(Mixing(mixing))
    }

    fn crop(&self) -> Option<&dyn Crop> {
        self.operations.iter().find_map(|o| match o.action() {
            Action::Crop(crop) => Some(crop),
            _ => None,
        })
    }

    /// Whether it starts from the image resized by the shorter side; otherwise from the image as it was decoded.
    pub(crate) fn wants_resized(&self) -> bool {
        self.crop().is_none_or(|crop| crop.wants_resized())
    }

    /// Normalised C×H×W values in `out`, from an image that is resized if [`Augment::wants_resized`] says so.
    pub(crate) fn apply(&self, recipe: &Recipe, image: &RgbImage, moment: Moment, index: usize, mut out: ArrayViewMut3<f32>) -> Result<()> {
        if self.is_none() {
            return recipe.central(image, out);
        }
        let stream = |number| Random::stream(Purpose::Augment, number, moment.seed, moment.epoch, index as u64);
        // The operations of stream 0 draw from it one after another.
        let mut first = stream(0);
        let mut random = |operation: &Operation, f: &mut dyn FnMut(&mut Random)| match operation.stream() {
            0 => f(&mut first),
            number => f(&mut stream(number)),
        };
        let (width, height) = (recipe.width, recipe.height);
        let mut pixels: Option<Result<CowArray<u8, Ix3>>> = None;
        for operation in &self.operations {
            if let Action::Crop(crop) = operation.action() {
                random(operation, &mut |r| pixels = Some(crop.crop(image, recipe, r)));
            }
        }
        let mut pixels = match pixels {
            Some(pixels) => pixels?,
            None => {
                let Region { left, top, .. } = Region::central(image, width, height);
                preprocess::window(image, left as i64, top as i64, width, height)?
            }
        };
        if self.operations.iter().any(|o| matches!(o.action(), Action::Bytes(_))) {
            let bytes: Vec<u8> = pixels.iter().copied().collect();
            let mut changed = RgbImage::from_raw(width, height, bytes).ok_or_else(|| Error::data("an image lacks pixels"))?;
            for operation in &self.operations {
                if let Action::Bytes(change) = operation.action() {
                    random(operation, &mut |r| change.change(&mut changed, r));
                }
            }
            pixels = preprocess::pixels(&changed)?.to_owned().into();
        }
        let mut planes = preprocess::planes(pixels.view());
        for operation in &self.operations {
            if let Action::Values(change) = operation.action() {
                random(operation, &mut |r| change.change(planes.view_mut(), r));
            }
        }
        recipe.finish(planes.view(), out.view_mut())?;
        for operation in &self.operations {
            if let Action::Input(change) = operation.action() {
                random(operation, &mut |r| change.change(out.view_mut(), r));
            }
        }
        Ok(())
    }
}

/// As a recipe: with `{:#}` every parameter, the usual ones too.
impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::show(&self.operations, f.alternate()))
    }
}

impl FromStr for Augment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Augment> {
        Ok(Augment { operations: text::parse(text)? })
    }
}
