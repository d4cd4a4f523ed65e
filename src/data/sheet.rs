//! A picture of what a network sees.

use super::augment::{Augment, Moment};
use super::dataset::{Dataset, ImageDataset};
use super::image_set::ImageSet;
use super::preprocess::Recipe;
use crate::error::{Error, Result};
use image::{Rgb, RgbImage, imageops};
use ndarray::Array3;

/// Space between pictures, in pixels.
const GAP: u32 = 2;

/// Some of the images, one a row, evenly over all of them: first as in evaluation, then as the network sees them in the first epochs of a run with
/// that seed. Fails for inputs that are no images, and for an image that cannot be read.
pub fn contact_sheet(
    images: &ImageSet,
    recipe: &Recipe,
    augment: &Augment,
    seed: u64,
    (rows, columns): (usize, usize),
) -> Result<RgbImage> {
    if images.is_ready() {
        return Err(Error::data(format!("{} holds floats, which are no images that could be shown", images.root().display())));
    }
    let rows = rows.clamp(1, images.len().max(1));
    let columns = if augment.is_none() { 1 } else { columns.max(2) };
    let picked: Vec<usize> = (0..rows).map(|row| row * images.len() / rows).collect();
    let plain = ImageDataset::new(images.clone(), recipe.clone(), Augment::NONE, 0);
    let changed = ImageDataset::new(images.clone(), recipe.clone(), augment.clone(), 0);
    let [_, height, width] = recipe.shape();
    let place = |number: usize, size: usize| number as u32 * (size as u32 + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(place(columns, width), place(rows, height), Rgb([128; 3]));
    for (row, &index) in picked.iter().enumerate() {
        for column in 0..columns {
            let mut values = Array3::zeros(recipe.shape());
            let moment = Moment { seed, epoch: column.saturating_sub(1) as u64 };
            if column == 0 { &plain } else { &changed }.image(index, moment, values.view_mut())?;
            imageops::replace(&mut sheet, &recipe.picture(values.view())?, place(column, width).into(), place(row, height).into());
        }
    }
    Ok(sheet)
}
