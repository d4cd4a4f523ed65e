//! Labelled images, wherever they lie.

use super::listing::{Skipped, few, quoted};
use super::pixels::Store;
use super::preprocess::Recipe;
use super::targets::Targets;
use crate::error::{Error, Result};
use image::RgbImage;
use ndarray::ArrayView3;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image file; of arrays the file of all of them.
    pub path: PathBuf,
    /// Place in [`ImageSet::classes`]; 0 where images do not have one class each.
    pub label: usize,
}

/// Labelled images: in folders as torchvision's `ImageFolder` has them (`<dir>/<class>/**/<image>`), also below `<dir>/train`, `<dir>/val` and
/// `<dir>/test`; in a CSV file of paths and labels; in arrays of a `.npz` or safetensors file.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSet {
    pub(super) root: PathBuf,
    pub(super) classes: Vec<String>,
    pub(super) store: Arc<Store>,
    /// Of each sample its number in `store`.
    pub(super) places: Vec<u32>,
    /// Of each sample.
    pub(super) targets: Targets,
    pub(super) skipped: Skipped,
    /// What the user should hear.
    pub(super) told: Vec<String>,
    pub(super) labels_assumed: bool,
}

/// An image folder; the former name of [`ImageSet`].
pub type ImageFolder = ImageSet;

impl ImageSet {
    /// The folder or file that was opened; of a divided folder the part.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Class names by label; none where targets are numbers.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All images, by class and name; those of arrays in their order.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        (0..self.len()).map(|i| Sample { path: self.path(i).unwrap_or_else(|| self.root.clone()), label: self.label(i).unwrap_or(0) })
    }

    /// What is known of the images.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The file of an image below [`ImageSet::len`]; `None` for those of arrays.
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.store.path(self.place(index)?)
    }

    fn place(&self, index: usize) -> Option<usize> {
        self.places.get(index).map(|&place| place as usize)
    }

    /// The class of an image below [`ImageSet::len`]; `None` where images do not have one each.
    pub fn label(&self, index: usize) -> Option<usize> {
        match &self.targets {
            Targets::Classes(labels) => labels.get(index).map(|&label| label as usize),
            _ => None,
        }
    }

    /// What to call an image in a message: its file, or `FILE[17]`.
    pub fn name(&self, index: usize) -> String {
        match (self.path(index), self.place(index)) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(place)) => format!("{}[{place}]", self.root.display()),
            _ => format!("sample {index}"),
        }
    }

    /// An image as 8-bit RGB, upright. Fails where it cannot be read, and for inputs that are ready.
    pub fn load(&self, index: usize) -> Result<RgbImage> {
        let place = self.place(index).ok_or_else(|| self.missing(index))?;
        self.store.image(place).map_err(|e| match self.path(index) {
            Some(_) => e,
            None => Error::data(format!("{}: {e}", self.name(index))),
        })
    }

    /// An input that is ready, C×H×W, from an array of floats; `None` for images.
    pub fn values(&self, index: usize) -> Option<ArrayView3<'_, f32>> {
        self.store.values(self.place(index)?)
    }

    /// Whether the inputs are ready: floats that enter the network as they are.
    pub fn is_ready(&self) -> bool {
        matches!(&*self.store, Store::Values(_))
    }

    /// Fails where inputs that are ready do not fit the network, or are to be augmented.
    pub fn check_ready(&self, recipe: &Recipe, augmented: bool) -> Result<()> {
        if self.is_ready() && augmented {
            return Err(Error::data(format!(
                "{} holds floats, which enter the network as they are: random changes are for images. Save pixels as uint8, or leave the changes away",
                self.root.display()
            )));
        }
        super::array_set::check_shape(&self.root, &self.store, recipe.shape())
    }

    /// The numbers of an image that the loss reads, for targets that are no single classes: 1 for each class that it has, or its numbers.
    pub fn target_row(&self, index: usize, row: &mut [f32]) {
        match &self.targets {
            Targets::Classes(_) => {}
            Targets::Several(labels) => {
                row.fill(0.0);
                for &label in labels.get(index).into_iter().flatten() {
                    row.get_mut(label as usize).into_iter().for_each(|v| *v = 1.0);
                }
            }
            Targets::Numbers(numbers) => {
                if index < numbers.nrows() {
                    row.iter_mut().zip(numbers.row(index)).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }

    /// How long the rows of [`ImageSet::target_row`] are; `None` where each image has one class.
    pub fn target_columns(&self) -> Option<usize> {
        match &self.targets {
            Targets::Classes(_) => None,
            Targets::Several(_) => Some(self.classes.len()),
            Targets::Numbers(numbers) => Some(numbers.ncols()),
        }
    }

    /// What identifies the content of an image that is in memory; `None` for files.
    pub fn content_hash(&self, index: usize) -> Option<[u8; 32]> {
        self.store.hash(self.place(index)?).map(Into::into)
    }

    /// Number of images by label; 0 for a class that has none. An image of several classes counts for each.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0usize; self.classes.len()];
        let mut count = |label: u32| counts.get_mut(label as usize).into_iter().for_each(|n| *n = n.saturating_add(1));
        match &self.targets {
            Targets::Classes(labels) => labels.iter().for_each(|&label| count(label)),
            Targets::Several(labels) => labels.iter().flatten().for_each(|&label| count(label)),
            Targets::Numbers(_) => {}
        }
        counts
    }

    /// How many files in class folders are no images.
    pub fn ignored(&self) -> usize {
        self.skipped.endings.values().sum()
    }

    /// What the user should hear: which part was taken, how labels were found where that is an assumption, and what was skipped.
    pub fn notes(&self) -> Vec<String> {
        let loose = match self.skipped.loose.len() {
            0 => None,
            n => Some(format!(
                "{n} {} beside the class folders of {} and {} of no class: {}",
                if n == 1 { "image lies" } else { "images lie" },
                self.root.display(),
                if n == 1 { "is" } else { "are" },
                few(&self.skipped.loose)
            )),
        };
        let skipped =
            self.skipped.summary().map(|what| format!("{} holds files that are not read and were skipped: {what}", self.root.display()));
        self.told.iter().cloned().chain(self.skipped.deeper.clone()).chain(loose).chain(skipped).collect()
    }

    /// What to do where folders one level below look like the classes.
    pub fn deeper(&self) -> Option<&str> {
        self.skipped.deeper.as_deref()
    }

    /// Whether the labels are no more than an assumption.
    pub fn labels_assumed(&self) -> bool {
        self.labels_assumed
    }

    fn missing(&self, index: usize) -> Error {
        Error::data(format!("{} has {} images, there is no number {index} among them", self.root.display(), self.len()))
    }

    /// The same classes with some of the samples, given by their places. Fails when there is no such place.
    pub fn subset(&self, indices: &[usize]) -> Result<ImageSet> {
        if let Some(&i) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(self.missing(i));
        }
        Ok(ImageSet {
            root: self.root.clone(),
            classes: self.classes.clone(),
            store: self.store.clone(),
            places: indices.iter().filter_map(|&i| self.places.get(i).copied()).collect(),
            targets: self.targets.subset(indices),
            skipped: Skipped::default(),
            told: vec![],
            labels_assumed: false,
        })
    }

    /// Tells of classes that these images lack and `training` has.
    pub(super) fn tell_lacking(&mut self, training: &ImageSet) {
        let pairs = self.class_counts().into_iter().zip(training.class_counts()).zip(&self.classes);
        let lacking: Vec<String> = pairs.filter(|((own, other), _)| *own == 0 && *other > 0).map(|(_, name)| name.clone()).collect();
        if !lacking.is_empty() {
            let (n, all) = (lacking.len(), self.classes.len());
            self.told.push(format!("{} has no images of {n} of the {all} classes: {}", self.root.display(), few(&quoted(&lacking))));
        }
    }
}
