//! The images of a run: what it learns from, what its choices are made by, and what it is judged by in the end.

use super::given_images::GivenImages;
use super::options::{Training, Validation};
use crate::data::{BadImages, ImageSet, KnownClasses, Part, check_images, shared, split};
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// Images of the three kinds, all of them readable.
pub(super) struct RunImages {
    pub training: ImageSet,
    pub validation: Option<ImageSet>,
    /// For the evaluation of the finished network, and nothing else.
    pub test: Option<ImageSet>,
    /// Images that could not be read and were left out.
    pub skipped: usize,
    pub notes: Vec<String>,
}

/// Reads every image once.
struct Check<'a> {
    bad: BadImages,
    workers: usize,
    stop: &'a AtomicBool,
    done: &'a mut dyn FnMut(usize, usize),
    skipped: usize,
    notes: Vec<String>,
}

impl Check<'_> {
    fn readable(&mut self, images: ImageSet) -> Result<ImageSet> {
        self.notes.extend(images.notes());
        let found = images.len();
        let (kept, told) = check_images(images, self.bad, self.workers, self.stop, self.done)?;
        self.notes.extend(told);
        self.skipped = self.skipped.saturating_add(found.saturating_sub(kept.len()));
        Ok(kept)
    }
}

impl RunImages {
    /// Takes what is `given`, and finds what `training` names. Where its folder is divided into parts, those that it does not name otherwise are taken from there.
    pub fn open(
        training: &Training,
        given: &GivenImages,
        known: &KnownClasses,
        workers: usize,
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<RunImages> {
        let mut check = Check { bad: training.bad_images, workers, stop, done, skipped: 0, notes: vec![] };
        let memory = ImageSet::is_in_memory(&training.data);
        let images = match &given.training {
            Some(images) => images.clone().for_network(known)?,
            None if memory => return Err(Error::data("the run's images were in memory, and are not there: give the same again")),
            None => ImageSet::open_for(&training.data, known)?,
        };
        let images = check.readable(images)?;
        let part = |given: &Option<ImageSet>, named: Option<&PathBuf>, part: Part| -> Result<Option<ImageSet>> {
            match (given, named) {
                (Some(given), _) => {
                    let known = KnownClasses { names: images.classes(), targets: Some(images.target_kind()), ..KnownClasses::default() };
                    given.clone().for_network(&known).map(Some)
                }
                (None, Some(path)) => images.beside(path, part).map(Some),
                (None, None) if memory => Ok(None),
                (None, None) => images.other_part(&training.data, part),
            }
        };
        let own_part = match &training.validation {
            Validation::Folder(dir) => part(&given.validation, Some(dir), Part::Validation)?,
            Validation::None => part(&given.validation, None, Part::Validation)?,
            Validation::Split(_) => None,
        };
        let test = part(&given.test, training.test.as_ref(), Part::Test)?;
        let own_part = own_part.map(|part| check.readable(part)).transpose()?;
        let test = test.map(|part| check.readable(part)).transpose()?;
        let Check { skipped, mut notes, .. } = check;
        notes.extend(
            [(&own_part, "validation"), (&test, "test")].into_iter().filter_map(|(part, what)| shared(&images, part.as_ref()?, what)),
        );
        let (images, validation) = match training.validation {
            Validation::Split(fraction) => {
                if !memory && images.has_part(&training.data, Part::Validation)? {
                    notes.push(format!(
                        "the validation images of {} are not used: some of the training images are held out instead",
                        training.data.display()
                    ));
                }
                let split = split(&images, fraction, training.seed)?;
                notes.extend(split.notes);
                (split.training, Some(split.validation))
            }
            _ => (images, own_part),
        };
        Ok(RunImages { training: images, validation, test, skipped, notes })
    }
}
