//! Some images of a set as a network sees them.

use super::augment::Augment;
use super::dataset::ImageDataset;
use super::grid::{Cell, cells};
use super::image_set::ImageSet;
use super::loader::{Last, Loader, LoaderOptions};
use super::preprocess::Recipe;
use crate::error::{Error, Result};
use std::sync::Arc;

/// `rows` of the images, evenly over all of them: each first as in evaluation, then, where anything is changed, as in the first epochs of a run;
/// `columns` cells a row. Mixed images are mixed with each other. Fails for inputs that are no images, and for an image that cannot be read.
pub fn contact_sheet(
    images: &ImageSet,
    recipe: &Recipe,
    augment: &Augment,
    seed: u64,
    (rows, columns): (usize, usize),
) -> Result<Vec<Cell>> {
    if images.is_ready() {
        return Err(Error::data(format!("{} holds floats, which are no images that could be shown", images.root().display())));
    }
    let rows = rows.clamp(1, images.len().max(1));
    let picked: Vec<usize> = (0..rows).map(|row| row.saturating_mul(images.len()).checked_div(rows).unwrap_or(0)).collect();
    let picked = images.subset(&picked)?;
    let options = LoaderOptions { shuffle: false, last: Last::Short, ..LoaderOptions::training(rows, seed) };
    let batches = |augment: &Augment, epochs: u64| -> Result<Vec<Vec<Cell>>> {
        let loader = Loader::new(Arc::new(ImageDataset::new(picked.clone(), recipe.clone(), augment.clone(), 0)), options.clone())?;
        loader.stream(0, 0, Some(epochs))?.map(|batch| cells(recipe, &batch?, picked.classes())).collect()
    };
    let changed = if augment.is_none() { 0 } else { (columns.max(2) as u64).saturating_sub(1) };
    let mut seen = batches(&Augment::NONE, 1)?;
    if changed > 0 {
        seen.extend(batches(augment, changed)?);
    }
    Ok((0..rows).flat_map(|row| seen.iter().filter_map(move |column| column.get(row).cloned())).collect())
}
