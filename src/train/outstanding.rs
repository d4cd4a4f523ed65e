//! What is still to do for a run whose training came to its end in a process that was ended before it had done everything else.

use super::given_images::GivenImages;
use super::progress::Progress;
use super::run::{Run, RunRecord, Status};
use super::run_images::RunImages;
use super::targets;
use crate::data::{ImageSet, KnownClasses};
use crate::error::{Error, Result};
use crate::storage::run_folder::RunFolder;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Whether something is left to do of a complete run: a page, or with `exports` a tuned model, is missing or older than the weights; or there are files
/// that a complete run has not.
pub(super) fn is_there(folder: &RunFolder, record: &RunRecord, exports: bool) -> bool {
    let (weights, model) = (folder.record(), folder.tuned());
    let late = |path: &Path, than: &Path| {
        let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        changed(path).is_none_or(|at| changed(than).is_some_and(|than| at < than))
    };
    record.status == Status::Complete
        && (late(&folder.report(), &weights)
            || (exports && late(&model, &folder.state()))
            || [folder.checkpoint(), folder.previous_checkpoint()].iter().any(|left| left.exists())
            || folder.is_replacing())
}

/// Removes what a complete run does not need: its checkpoints, and the run that it replaced.
pub(super) fn tidy(folder: &RunFolder, record: &RunRecord) -> Result<()> {
    for path in [folder.checkpoint(), folder.previous_checkpoint()].into_iter().filter(|path| path.is_file()) {
        fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
    }
    if record.status == Status::Complete { folder.forget_replaced() } else { Ok(()) }
}

/// The images that nothing was chosen by, of a run whose training is complete.
pub(super) fn test_images(
    run: &Run,
    given: &GivenImages,
    workers: usize,
    stop: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Option<ImageSet>> {
    if run.record.images.test == 0 {
        return Ok(None);
    }
    let manifest = &run.bundle.manifest;
    let known = KnownClasses {
        names: &manifest.classes,
        count: run.bundle.class_count()?,
        learnt: !manifest.has_new_head(),
        targets: Some(targets::kind(manifest)),
        ..KnownClasses::default()
    };
    let found = RunImages::open(&run.record.training, given, &known, workers, stop, &mut |done, total| progress.checking(done, total))?;
    Ok(found.test)
}
