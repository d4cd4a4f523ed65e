//! Whether something is there. That the system does not let one look, or that a link leads nowhere, is not the same as nothing.

use crate::error::{Error, Result};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::Path;

/// What is at `path`, links followed; `None` where nothing is.
///
/// Fails for a link whose end does not exist, and where the system refuses to look: a folder on the way that may not be entered, a name that is too long,
/// links that lead in a circle.
pub fn at(path: &Path) -> Result<Option<Metadata>> {
    let cause = match fs::metadata(path) {
        Ok(found) => return Ok(Some(found)),
        Err(cause) => cause,
    };
    if !matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
        return Err(Error::io("cannot look at", path)(cause));
    }
    match fs::read_link(path) {
        Ok(end) => Err(Error::model(format!(
            "{} is a link to {}, which does not exist. Put it there again, or let the link lead to where it is",
            path.display(),
            end.display()
        ))),
        Err(_) => Ok(None),
    }
}

/// Whether a folder is at `path`; fails as [`at`] does.
pub fn is_folder(path: &Path) -> Result<bool> {
    Ok(at(path)?.is_some_and(|found| found.is_dir()))
}

/// Whether a regular file is at `path`; fails as [`at`] does.
pub fn is_file(path: &Path) -> Result<bool> {
    Ok(at(path)?.is_some_and(|found| found.is_file()))
}
