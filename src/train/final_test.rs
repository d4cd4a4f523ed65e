//! The evaluation of a finished run on images that nothing was chosen by.

use super::classifier::{Classifier, ClassifierOptions};
use super::evaluate::{Evaluation, EvaluationOptions, evaluate_folder};
use super::progress::Progress;
use super::run::RunRecord;
use super::targets;
use super::tuned::{RunState, Subject};
use crate::data::{ImageSet, KnownClasses, Part};
use crate::engine;
use crate::error::Result;
use crate::storage::files::write_json;
use crate::storage::run_folder::RunFolder;
use std::sync::atomic::AtomicBool;

/// Evaluates one of the run's states on its test images, where it has any, and keeps the result in the run's folder.
pub(super) fn final_test(
    subject: &Subject,
    state: RunState,
    record: &RunRecord,
    workers: usize,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Option<Evaluation>> {
    let (Some(bundle), training) = (subject.bundle(), &record.training) else { return Ok(None) };
    let kind = Some(targets::kind(&bundle.manifest));
    let known = KnownClasses { names: &bundle.manifest.classes, targets: kind, ..KnownClasses::default() };
    let images = ImageSet::open_for(&training.data, &known)?;
    // Several classes or numbers for each image are trained on, and not evaluated.
    if images.target_columns().is_some() {
        return Ok(None);
    }
    let test = match &training.test {
        Some(dir) => Some(images.beside(dir, Part::Test)?),
        None => images.other_part(&training.data, Part::Test)?,
    };
    let Some(test) = test else { return Ok(None) };
    let engine = engine::open(&record.engine_options)?;
    let mut classifier = Classifier::open(subject, &ClassifierOptions { which: state, ..ClassifierOptions::default() }, engine.as_ref())?;
    let options = EvaluationOptions { workers, bad_images: training.bad_images, ..EvaluationOptions::new(test.root()) };
    let found = evaluate_folder(&mut classifier, &options, stop, &mut |_| {}, &mut |done, total| progress.testing(done, total))?;
    if let Subject::Run(run) = subject {
        write_json(&RunFolder::new(run.folder.path()).test(), true, &found)?;
    }
    Ok(Some(found))
}
