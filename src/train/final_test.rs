//! The evaluation of a finished run on images that nothing was chosen by.

use super::classifier::{Classifier, ClassifierOptions};
use super::evaluate::evaluate;
use super::evaluation::Evaluation;
use super::progress::Progress;
use super::run::RunRecord;
use super::run_state::RunState;
use super::tuned::Subject;
use crate::data::{Augment, ImageDataset, ImageSet};
use crate::engine;
use crate::error::Result;
use crate::storage::files::write_sealed_json;
use crate::storage::run_folder::RunFolder;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Evaluates one of the run's states on its test images, and keeps the result in the run's folder.
pub(super) fn final_test(
    subject: &Subject,
    state: RunState,
    (record, test): (&RunRecord, ImageSet),
    workers: usize,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Evaluation> {
    let engine = engine::open(&record.engine_options)?;
    let mut classifier = Classifier::open(subject, &ClassifierOptions { which: state, ..ClassifierOptions::default() }, engine.as_ref())?;
    let dataset = Arc::new(ImageDataset::new(test, classifier.recipe()?, Augment::NONE, 0));
    let found = evaluate(&mut classifier, dataset, None, workers, stop, &mut |done, total| progress.testing(done, total))?;
    if let Subject::Run(run) = subject {
        write_sealed_json(&RunFolder::new(run.folder.path()).test(), true, &found)?;
    }
    Ok(found)
}
