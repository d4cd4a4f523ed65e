//! What a caller can watch of a run.

use super::metrics::{EpochRecord, StepRecord, ValidationRecord};
use crate::artifact::Made;
use std::path::Path;

/// What is known before the first step.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The engine, for people.
    pub engine: String,
    /// Where the engine comes from, and why it is used.
    pub origin: String,
    /// Training images, and those held out for validation.
    pub images: usize,
    /// Images held out for validation.
    pub validation: usize,
    /// Classes of the images.
    pub classes: usize,
    /// Images per step.
    pub batch: usize,
    /// The learning rate and what becomes of it, for people.
    pub rate: String,
    /// Steps in one pass over the images.
    pub steps_per_epoch: usize,
    /// Steps in all.
    pub steps: u64,
    /// Steps that were done before, in a run that is resumed.
    pub done: u64,
}

/// Is told what happens; every method does nothing unless it is written.
pub trait Progress {
    /// A model became the bundle that is trained.
    fn rewritten(&mut self, _: &Made) {}
    /// Every image is read once before the first step; so many of them were.
    fn checking(&mut self, _done: usize, _images: usize) {}
    /// The first step is about to run.
    fn start(&mut self, _: &Outline) {}
    /// A step is done.
    fn step(&mut self, _: &StepRecord) {}
    /// An epoch is done.
    fn epoch(&mut self, _: &EpochRecord) {}
    /// A validation begins; it has so many images.
    fn validating(&mut self, _images: usize) {}
    /// A validation is done.
    fn validation(&mut self, _: &ValidationRecord) {}
    /// A checkpoint of that step was written.
    fn checkpoint(&mut self, _step: u64, _: &Path) {}
    /// The finished network is evaluated on the test images; so many of them were.
    fn testing(&mut self, _done: usize, _images: usize) {}
    /// Something that the user should know and that is no error.
    fn note(&mut self, _: &str) {}
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
