//! Labelled images, wherever they lie: a folder with one sub-folder per class, or such folders for training, validation and test.

use super::files::Files;
use super::labels::{self, KnownClasses, Labels};
use super::listing::{Listing, Skipped, check_is_folder, few, quoted};
use super::parts::{self, Part, Parts};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Place in [`ImageSet::classes`].
    pub label: usize,
}

/// The layout of torchvision's `ImageFolder`, `<dir>/<class>/**/<image>`, also below `<dir>/train`, `<dir>/val` and `<dir>/test`.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSet {
    root: PathBuf,
    classes: Vec<String>,
    files: Arc<Files>,
    /// Of each sample its number in `files`.
    places: Vec<u32>,
    /// Of each sample its class.
    labels: Vec<u32>,
    skipped: Skipped,
    /// What had to be assumed.
    assumed: Vec<String>,
    labels_assumed: bool,
}

/// An image folder; the former name of [`ImageSet`].
pub type ImageFolder = ImageSet;

impl ImageSet {
    /// Lists `dir`; no image is opened yet.
    ///
    /// Labels are the places of the sub-folders' names in sorted order (by their numbers, where all of them are numbers), or in `classes`
    /// where that is given (then it may hold classes without a folder). Images may lie in folders below a class folder; symbolic links are followed.
    /// Hidden files and folders, files directly in `dir`, and folders that computers make (such as `__MACOSX`) are skipped. Samples are sorted
    /// by label and path. Of a folder that is divided into parts the training part is taken.
    ///
    /// Fails when `dir` is missing, has no sub-folders, when a class has no images or isn't in `classes`, and when
    /// links lead in a circle or nowhere.
    pub fn open(dir: &Path, classes: Option<&[String]>) -> Result<ImageSet> {
        ImageSet::open_for(dir, &KnownClasses { names: classes.unwrap_or_default(), ..KnownClasses::default() })
    }

    /// As [`ImageSet::open`], for a network of which more is known than the names of its classes.
    pub fn open_for(dir: &Path, known: &KnownClasses) -> Result<ImageSet> {
        ImageSet::open_part(dir, known, &[Part::Training])
    }

    /// As [`ImageSet::open_for`]; of a folder that is divided the first of those parts that there is. Fails where there is none of them.
    pub fn open_part(dir: &Path, known: &KnownClasses, wanted: &[Part]) -> Result<ImageSet> {
        check_is_folder(dir)?;
        let Some(parts) = parts::parts(dir, known.names)? else { return ImageSet::list(dir, known) };
        let Some((part, path)) = wanted.iter().find_map(|&part| Some((part, parts.get(part)?))) else {
            let wanted: Vec<String> = wanted.iter().map(Part::to_string).collect();
            return Err(Error::data(format!(
                "{} is divided into {} and has no {} images. Give the folder that is meant, such as {}",
                dir.display(),
                parts.shown(),
                wanted.join(" or "),
                parts.first().display()
            )));
        };
        let mut set = ImageSet::list(path, known)?;
        set.assumed.insert(0, told(dir, &parts, part, path));
        Ok(set)
    }

    /// The part of `dir` for that purpose, where `dir` is divided and has one, as images of the classes of `self`. See [`ImageSet::beside`].
    pub fn other_part(&self, dir: &Path, part: Part) -> Result<Option<ImageSet>> {
        let parts = if dir.is_dir() { parts::parts(dir, &self.classes)? } else { None };
        match parts.as_ref().and_then(|parts| parts.get(part)) {
            Some(path) => self.beside(path, part).map(Some),
            None => Ok(None),
        }
    }

    /// Images for that purpose in `dir`, of the classes of these training images; where `dir` is divided, its part for it. Fails for a class that
    /// the training images lack; that there are fewer is told by [`ImageSet::notes`].
    pub fn beside(&self, dir: &Path, part: Part) -> Result<ImageSet> {
        let known = KnownClasses { names: &self.classes, ..KnownClasses::default() };
        let wanted: &[Part] = if part == Part::Test { &[Part::Test, Part::Validation] } else { &[part] };
        let mut set = ImageSet::open_part(dir, &known, wanted).map_err(|e| match e {
            Error::Data(why) if why.contains("does not know") => {
                Error::data(format!("the {part} images have classes that the training images in {} lack: {why}", self.root.display()))
            }
            other => other,
        })?;
        let lacking: Vec<String> = set
            .class_counts()
            .iter()
            .zip(self.class_counts())
            .zip(&self.classes)
            .filter(|((own, training), _)| **own == 0 && *training > 0)
            .map(|(_, name)| name.clone())
            .collect();
        if !lacking.is_empty() {
            let (n, all) = (lacking.len(), self.classes.len());
            let text = format!("{} has no images of {n} of the {all} classes: {}", set.root.display(), few(&quoted(&lacking)));
            set.assumed.push(text);
        }
        Ok(set)
    }

    fn list(dir: &Path, known: &KnownClasses) -> Result<ImageSet> {
        let listing = Listing::read(dir)?;
        let Labels { classes, labels, assumed } = labels::assign(dir, &listing.folders, known)?;
        let label = |class: &u32| labels.get(*class as usize).copied().unwrap_or(0) as u32;
        let labels_of_files: Vec<u32> = listing.classes.iter().map(label).collect();
        let mut places: Vec<u32> = (0..listing.files.len() as u32).collect();
        // Files are in the order of their paths already.
        places.sort_by_key(|&place| labels_of_files[place as usize]);
        Ok(ImageSet {
            root: listing.root,
            classes,
            labels: places.iter().map(|&place| labels_of_files[place as usize]).collect(),
            places,
            files: Arc::new(listing.files),
            skipped: listing.skipped,
            labels_assumed: assumed.is_some(),
            assumed: assumed.into_iter().collect(),
        })
    }

    /// The folder that was opened; of a divided one the part.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Class names by label.
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

    /// All images, by class and name.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = Sample> {
        (0..self.len()).map(|i| Sample { path: self.files.path(self.places[i] as usize), label: self.labels[i] as usize })
    }

    /// The file of an image below [`ImageSet::len`].
    pub fn path(&self, index: usize) -> Option<PathBuf> {
        self.places.get(index).map(|&place| self.files.path(place as usize))
    }

    /// The class of an image below [`ImageSet::len`].
    pub fn label(&self, index: usize) -> Option<usize> {
        self.labels.get(index).map(|&label| label as usize)
    }

    /// What to call an image in a message.
    pub fn name(&self, index: usize) -> String {
        self.path(index).map_or_else(|| format!("sample {index}"), |path| path.display().to_string())
    }

    /// Number of images by label; 0 for a class that has no folder.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        counts
    }

    /// How many files in class folders are no images.
    pub fn ignored(&self) -> usize {
        self.skipped.endings.values().sum()
    }

    /// What the user should hear: which part was taken, how labels were found where that is an assumption, and what was skipped.
    pub fn notes(&self) -> Vec<String> {
        let skipped =
            self.skipped.summary().map(|what| format!("{} holds files that are no images and were skipped: {what}", self.root.display()));
        self.assumed.iter().cloned().chain(skipped).collect()
    }

    /// Whether the labels are no more than an assumption.
    pub fn labels_assumed(&self) -> bool {
        self.labels_assumed
    }

    /// The same classes with some of the samples, given by their places. Fails when there is no such place.
    pub fn subset(&self, indices: &[usize]) -> Result<ImageSet> {
        if let Some(i) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(Error::data(format!("{} has {} images, there is no number {i} among them", self.root.display(), self.len())));
        }
        Ok(ImageSet {
            root: self.root.clone(),
            classes: self.classes.clone(),
            files: self.files.clone(),
            places: indices.iter().map(|&i| self.places[i]).collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            skipped: Skipped::default(),
            assumed: vec![],
            labels_assumed: false,
        })
    }
}

/// What a folder is divided into, and which part was taken.
fn told(dir: &Path, parts: &Parts, part: Part, path: &Path) -> String {
    let beside =
        if parts.beside.is_empty() { String::new() } else { format!("; {} beside them holds no images", few(&quoted(&parts.beside))) };
    format!("{} is divided into {}{beside}: the {part} images are {}", dir.display(), parts.shown(), path.display())
}
