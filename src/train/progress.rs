//! What a caller can watch of a run.

use super::metrics::{StepRecord, ValidationRecord};
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
    pub validation: usize,
    pub classes: usize,
    pub batch: usize,
    pub steps_per_epoch: usize,
    /// Steps in all.
    pub steps: u64,
    /// Steps that were done before, in a run that is resumed.
    pub done: u64,
}

/// Is told what happens; every method does nothing unless it is written.
pub trait Progress {
    fn start(&mut self, _: &Outline) {}
    fn step(&mut self, _: &StepRecord) {}
    /// A validation begins; it has so many images.
    fn validating(&mut self, _images: usize) {}
    fn validation(&mut self, _: &ValidationRecord) {}
    fn checkpoint(&mut self, _step: u64, _: &Path) {}
    /// Something that the user should know and that is no error.
    fn note(&mut self, _: &str) {}
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}
