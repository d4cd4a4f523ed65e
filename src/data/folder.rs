//! Image folders: one sub-folder per class.

use super::labels::{self, KnownClasses, Labels};
use super::listing::{Listing, Skipped};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// An image file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Place in [`ImageFolder::classes`].
    pub label: usize,
}

/// The layout of torchvision's `ImageFolder`: `<dir>/<class>/**/<image>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    samples: Vec<Sample>,
    skipped: Skipped,
    assumed: Option<String>,
}

impl ImageFolder {
    /// Lists `dir`; no image is opened yet.
    ///
    /// Labels are the places of the sub-folders' names in sorted order (by their numbers, where all of them are numbers), or in `classes`
    /// where that is given (then it may hold classes without a folder). Images may lie in folders below a class folder; symbolic links are followed.
    /// Hidden files and folders, files directly in `dir`, and folders that computers make (such as `__MACOSX`) are skipped. Samples are sorted
    /// by label and path.
    ///
    /// Fails when `dir` is missing, has no sub-folders, when a class has no images or isn't in `classes`, and when
    /// links lead in a circle or nowhere.
    pub fn open(dir: &Path, classes: Option<&[String]>) -> Result<ImageFolder> {
        ImageFolder::open_for(dir, &KnownClasses { names: classes.unwrap_or_default(), ..KnownClasses::default() })
    }

    /// As [`ImageFolder::open`], for a network of which more is known than the names of its classes.
    pub fn open_for(dir: &Path, known: &KnownClasses) -> Result<ImageFolder> {
        let listing = Listing::read(dir)?;
        let Labels { classes, labels, assumed } = labels::assign(dir, &listing.folders, known)?;
        let mut samples: Vec<Sample> = listing.images.into_iter().map(|(folder, path)| Sample { path, label: labels[folder] }).collect();
        samples.sort_by(|a, b| (a.label, &a.path).cmp(&(b.label, &b.path)));
        Ok(ImageFolder { root: listing.root, classes, samples, skipped: listing.skipped, assumed })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Class names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All images, by class and name.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Number of images by label; 0 for a class that has no folder.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.samples.iter().for_each(|s| counts[s.label] += 1);
        counts
    }

    /// How many files in class folders are no images.
    pub fn ignored(&self) -> usize {
        self.skipped.endings.values().sum()
    }

    /// What the user should hear: how labels were found where that is an assumption, and what was skipped.
    pub fn notes(&self) -> Vec<String> {
        let skipped =
            self.skipped.summary().map(|what| format!("{} holds files that are no images and were skipped: {what}", self.root.display()));
        self.assumed.iter().cloned().chain(skipped).collect()
    }

    /// Whether the labels are no more than an assumption.
    pub fn labels_assumed(&self) -> bool {
        self.assumed.is_some()
    }

    /// The same classes with some of the samples, given by their places. Fails when there is no such place.
    pub fn subset(&self, indices: &[usize]) -> Result<ImageFolder> {
        let pick = |&i: &usize| {
            self.samples.get(i).cloned().ok_or_else(|| {
                Error::data(format!("{} has {} images, there is no number {i} among them", self.root.display(), self.samples.len()))
            })
        };
        let samples = indices.iter().map(pick).collect::<Result<_>>()?;
        Ok(ImageFolder { root: self.root.clone(), classes: self.classes.clone(), samples, skipped: Skipped::default(), assumed: None })
    }
}
