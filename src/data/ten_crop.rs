//! Ten views of each image: torchvision's `TenCrop` after its `Resize`.

use super::augment::Moment;
use super::dataset::Dataset;
use super::image_set::ImageSet;
use super::preprocess::{Recipe, Region};
use crate::bundle::Layout;
use crate::error::{Error, Result};
use image::{RgbImage, imageops};
use ndarray::ArrayViewMut3;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Resized images that are kept until their ten views are made.
const KEPT: usize = 64;

type Slot = Arc<OnceLock<std::result::Result<RgbImage, String>>>;

/// The four corners and the middle of the resized image, of the network's size, and the same of its mirror image: sample `10·i + v` is view `v` of
/// image `i`.
pub struct TenCrops {
    folder: ImageSet,
    recipe: Recipe,
    recent: Mutex<VecDeque<(usize, Slot)>>,
}

impl TenCrops {
    /// Views of an image.
    pub const VIEWS: usize = 10;

    /// Of the images in `folder`.
    pub fn new(folder: ImageSet, recipe: Recipe) -> TenCrops {
        TenCrops { folder, recipe, recent: Mutex::default() }
    }

    /// What the user should hear: that five views are one, where they are.
    pub fn note(&self) -> Option<String> {
        let (resize, [_, height, width]) = (self.recipe.resize as usize, self.recipe.shape());
        (resize <= height.min(width)).then(|| {
            format!(
                "images are resized to {resize} pixels, all of which the network takes ({height}×{width}): of square images the five crops are one. \
                 A larger {} makes them different",
                crate::field::Field::RESIZE
            )
        })
    }

    /// The resized image; of those that ask for one at the same time the first reads it.
    fn resized(&self, image: usize) -> Result<Slot> {
        let slot = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            match recent.iter().find(|(i, _)| *i == image) {
                Some((_, slot)) => slot.clone(),
                None => {
                    let slot = Slot::default();
                    recent.push_back((image, slot.clone()));
                    if recent.len() > KEPT {
                        recent.pop_front();
                    }
                    slot
                }
            }
        };
        let name = || self.name(image.saturating_mul(TenCrops::VIEWS));
        slot.get_or_init(|| {
            let whole = self.folder.load(image).map_err(|e| e.to_string())?;
            self.recipe.resized(&whole).map_err(|e| format!("{}: {e}", name()))
        });
        Ok(slot)
    }
}

impl Dataset for TenCrops {
    fn len(&self) -> usize {
        self.folder.len().saturating_mul(TenCrops::VIEWS)
    }

    fn shape(&self) -> [usize; 3] {
        self.recipe.shape()
    }

    fn layout(&self) -> Layout {
        self.recipe.layout()
    }

    fn views(&self) -> usize {
        TenCrops::VIEWS
    }

    fn label(&self, index: usize) -> i64 {
        self.folder.label(index / TenCrops::VIEWS).map_or(-1, |label| label as i64)
    }

    fn name(&self, index: usize) -> String {
        self.folder.name(index / TenCrops::VIEWS)
    }

    fn image(&self, index: usize, _: Moment, out: ArrayViewMut3<f32>) -> Result<()> {
        let slot = self.resized(index / TenCrops::VIEWS)?;
        let resized = match slot.get() {
            Some(Ok(image)) => image,
            Some(Err(why)) => return Err(Error::data(why.clone())),
            None => return Err(Error::internal("an image was not read")),
        };
        let view = index % TenCrops::VIEWS;
        let mirrored;
        let seen = if view < 5 {
            resized
        } else {
            mirrored = imageops::flip_horizontal(resized);
            &mirrored
        };
        let [_, height, width] = self.recipe.shape().map(|n| n as u32);
        let (right, bottom) = (seen.width().saturating_sub(width), seen.height().saturating_sub(height));
        let (left, top) = match view % 5 {
            0 => (0, 0),
            1 => (right, 0),
            2 => (0, bottom),
            3 => (right, bottom),
            _ => {
                let Region { left, top, .. } = Region::central(seen, width, height);
                (left, top)
            }
        };
        // The middle of what is exactly as large as the network's input is all of it.
        self.recipe.central(&imageops::crop_imm(seen, left, top, width, height).to_image(), out)
    }
}
