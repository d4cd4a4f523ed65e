//! Samples that a loader can batch: images in folders, arrays in memory.

use crate::bundle::Layout;
use crate::data::augment::{Augment, Mixing, Moment};
use crate::data::cache::{Cache, CacheOptions};
use crate::data::image_set::ImageSet;
use crate::data::preprocess::Recipe;
use crate::error::{Error, Result};
use image::RgbImage;
use ndarray::{Array4, ArrayViewMut3, Axis};

/// Numbered samples, each with a label and the C×H×W values that enter the network.
///
/// Implementations must give the same values for the same (sample, moment), whoever asks and how often.
pub trait Dataset: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// C, H, W.
    fn shape(&self) -> [usize; 3];

    /// How a network wants the values of a sample in its batches.
    fn layout(&self) -> Layout {
        Layout::Nchw
    }

    /// So many samples after each other are views of one image, whose answers count together.
    fn views(&self) -> usize {
        1
    }

    /// The label of a sample below [`Dataset::len`].
    fn label(&self, index: usize) -> i64;

    /// How many numbers a sample has as its target, where it has no label.
    fn target_columns(&self) -> Option<usize> {
        None
    }

    /// Writes the numbers of a sample below [`Dataset::len`] that has no label to a row of [`Dataset::target_columns`].
    fn target_row(&self, _index: usize, _row: &mut [f32]) {}

    /// What the user should hear since this was last asked for.
    fn notes(&self) -> Vec<String> {
        vec![]
    }

    /// What to call a sample in a message, such as its file name.
    fn name(&self, index: usize) -> String;

    /// What mixes the images of a batch, if anything does.
    fn mixing(&self) -> Option<Mixing> {
        None
    }

    /// Writes the sample's values to `out`, C×H×W; random changes depend on the moment and the sample only.
    fn image(&self, index: usize, moment: Moment, out: ArrayViewMut3<f32>) -> Result<()>;
}

/// An image folder with the recipe that turns its files into inputs.
pub struct ImageDataset {
    folder: ImageSet,
    recipe: Recipe,
    augment: Augment,
    cache: Cache,
}

impl ImageDataset {
    /// Cache size that suits small data sets: 512 MiB.
    pub const CACHE: usize = 512 << 20;

    /// Images are decoded (and, unless the augmentation works on originals, resized) once and then kept, until they
    /// take `cache_bytes` together; what doesn't fit is read from its file each time. 0 for no cache.
    pub fn new(folder: ImageSet, recipe: Recipe, augment: Augment, cache_bytes: usize) -> ImageDataset {
        ImageDataset { cache: Cache::in_memory(folder.len(), cache_bytes), folder, recipe, augment }
    }

    /// As [`ImageDataset::new`], kept as `options` say. Fails where a cache folder cannot be made.
    pub fn cached(folder: ImageSet, recipe: Recipe, augment: Augment, options: &CacheOptions) -> Result<ImageDataset> {
        let treatment = if augment.wants_resized() { recipe.resizing() } else { "as decoded".into() };
        Ok(ImageDataset { cache: Cache::new(folder.len(), treatment, options)?, folder, recipe, augment })
    }

    /// The image files.
    pub fn folder(&self) -> &ImageSet {
        &self.folder
    }

    fn prepare(&self, index: usize) -> Result<RgbImage> {
        let image = self.folder.load(index)?;
        if !self.augment.wants_resized() {
            return Ok(image);
        }
        self.recipe.resized(&image).map_err(|e| Error::data(format!("{}: {e}", self.folder.name(index))))
    }
}

fn missing(index: usize, len: usize) -> Error {
    Error::data(format!("there is no sample {index} in a data set of {len}"))
}

impl Dataset for ImageDataset {
    fn len(&self) -> usize {
        self.folder.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.recipe.shape()
    }

    fn layout(&self) -> Layout {
        self.recipe.layout()
    }

    fn label(&self, index: usize) -> i64 {
        self.folder.label(index).map_or(-1, |label| label as i64)
    }

    fn target_columns(&self) -> Option<usize> {
        self.folder.target_columns()
    }

    fn target_row(&self, index: usize, row: &mut [f32]) {
        self.folder.target_row(index, row);
    }

    fn name(&self, index: usize) -> String {
        self.folder.name(index)
    }

    fn notes(&self) -> Vec<String> {
        self.cache.notes()
    }

    fn mixing(&self) -> Option<Mixing> {
        self.augment.mixing()
    }

    fn image(&self, index: usize, moment: Moment, mut out: ArrayViewMut3<f32>) -> Result<()> {
        if let Some(values) = self.folder.values(index) {
            self.folder.check_ready(&self.recipe, !self.augment.is_none())?;
            out.assign(&values);
            return Ok(());
        }
        if let Some(image) = self.cache.get(index) {
            return self.augment.apply(&self.recipe, image, moment, index, out);
        }
        let image = self.cache.prepared(&self.folder, index, || self.prepare(index))?;
        self.augment.apply(&self.recipe, &image, moment, index, out)
    }
}

/// Inputs that are ready, taken as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayDataset {
    values: Array4<f32>,
    labels: Vec<i64>,
}

impl ArrayDataset {
    /// `values` is N×C×H×W, with one label for each of the N samples. Fails when there is another number of labels.
    pub fn new(values: Array4<f32>, labels: Vec<i64>) -> Result<ArrayDataset> {
        if values.len_of(Axis(0)) != labels.len() {
            return Err(Error::data(format!(
                "{} labels don't go with values of shape {:?}. Give one label per sample",
                labels.len(),
                values.shape()
            )));
        }
        Ok(ArrayDataset { values, labels })
    }
}

impl Dataset for ArrayDataset {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        let (_, channels, height, width) = self.values.dim();
        [channels, height, width]
    }

    fn label(&self, index: usize) -> i64 {
        self.labels.get(index).copied().unwrap_or(-1)
    }

    fn name(&self, index: usize) -> String {
        format!("sample {index}")
    }

    fn image(&self, index: usize, _: Moment, mut out: ArrayViewMut3<f32>) -> Result<()> {
        if index >= self.len() {
            return Err(missing(index, self.len()));
        }
        if out.shape() != self.shape() {
            return Err(Error::data(format!("a sample of shape {:?} does not fit into an input of shape {:?}", self.shape(), out.shape())));
        }
        out.assign(&self.values.index_axis(Axis(0), index));
        Ok(())
    }
}
