//! The images of a run: what it learns from, what its choices are made by, and what it is judged by in the end.

use super::options::{Training, Validation};
use crate::data::{BadImages, ImageSet, KnownClasses, Part, check_images, shared, split};
use crate::error::{Error, Result};
use crate::field::Field;
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
        self.skipped += found - kept.len();
        Ok(kept)
    }
}

impl RunImages {
    /// Finds what `training` names. Where its folder is divided into parts, those that it does not name otherwise are taken from there.
    pub fn open(
        training: &Training,
        known: &KnownClasses,
        workers: usize,
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize, usize),
    ) -> Result<RunImages> {
        let mut check = Check { bad: training.bad_images, workers, stop, done, skipped: 0, notes: vec![] };
        let images = check.readable(ImageSet::open_for(&training.data, known)?)?;
        let own_part = match &training.validation {
            Validation::Folder(dir) => Some(images.beside(dir, Part::Validation)?),
            Validation::None => images.other_part(&training.data, Part::Validation)?,
            Validation::Split(_) => None,
        };
        let test = match &training.test {
            Some(dir) => Some(images.beside(dir, Part::Test)?),
            None => images.other_part(&training.data, Part::Test)?,
        };
        let own_part = own_part.map(|part| check.readable(part)).transpose()?;
        let test = test.map(|part| check.readable(part)).transpose()?;
        let Check { skipped, mut notes, .. } = check;
        notes.extend(
            [(&own_part, "validation"), (&test, "test")].into_iter().filter_map(|(part, what)| shared(&images, part.as_ref()?, what)),
        );
        let (images, validation) = match training.validation {
            Validation::Split(fraction) => {
                let split = split(&images, fraction, training.seed)?;
                notes.extend(split.notes);
                (split.training, Some(split.validation))
            }
            _ => (images, own_part),
        };
        let mut found = RunImages { training: images, validation, test, skipped, notes };
        found.leave_unjudged(training)?;
        Ok(found)
    }

    /// Accuracy is of images with one class each: others are trained on, and not evaluated. Fails where an evaluation was asked for.
    fn leave_unjudged(&mut self, training: &Training) -> Result<()> {
        if self.training.target_columns().is_none() {
            return Ok(());
        }
        let why = "images with several classes or with numbers as their targets are trained on, but not evaluated yet";
        if training.validation != Validation::None || training.test.is_some() {
            return Err(Error::option(Field::VALIDATION, format!(": {why}. Leave it away")));
        }
        if self.validation.take().is_some() | self.test.take().is_some() {
            self.notes.push(format!("{why}: the validation and test images are left aside"));
        }
        Ok(())
    }
}
