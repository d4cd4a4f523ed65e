//! What is still to do for a run whose training came to its end in a process that was ended before it had done everything else.

use super::run::{RunRecord, Status};
use crate::error::{Error, Result};
use crate::storage::exchange;
use crate::storage::run_folder::RunFolder;
use std::fs;
use std::path::Path;

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
            || files(folder).iter().any(|left| left.exists()))
}

fn files(folder: &RunFolder) -> [std::path::PathBuf; 3] {
    [folder.checkpoint(), folder.previous_checkpoint(), folder.replaced().record()]
}

/// Removes what a complete run does not need: its checkpoints, and the run that it replaced.
pub(super) fn tidy(folder: &RunFolder, record: &RunRecord) -> Result<()> {
    for path in [folder.checkpoint(), folder.previous_checkpoint()].into_iter().filter(|path| path.is_file()) {
        fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
    }
    if record.status == Status::Complete && folder.replaced().is_run() {
        let old = folder.replaced();
        exchange::remove(old.path()).map_err(Error::io("cannot remove the run that was replaced,", old.path()))?;
    }
    Ok(())
}
