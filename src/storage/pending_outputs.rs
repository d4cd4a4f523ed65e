//! The list of what is under construction: errors name a file by its final name, and a process that is ended from outside
//! takes away what would stay as a half.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Temporary names in use, and what they will be called.
static PENDING: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());

fn pending() -> MutexGuard<'static, Vec<(PathBuf, PathBuf)>> {
    // A poisoned lock only means that another thread panicked between two whole entries.
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that a file or folder is under construction, for as long as it lives.
#[derive(Debug)]
pub struct PendingOutput(PathBuf);

impl PendingOutput {
    /// `temporary` will be `dest`.
    pub fn new(temporary: &Path, dest: &Path) -> Self {
        pending().push((temporary.to_path_buf(), dest.to_path_buf()));
        PendingOutput(temporary.to_path_buf())
    }
}

impl Drop for PendingOutput {
    fn drop(&mut self) {
        pending().retain(|(temporary, _)| *temporary != self.0);
    }
}

/// Deletes everything that is under construction, for a process that is about to be ended from outside.
pub fn remove_all() {
    for (temporary, _) in pending().iter() {
        if !temporary.is_dir() {
            // Nobody is left to hear of an error.
            let _ = fs::remove_file(temporary);
            continue;
        }
        // Other threads may still be filling it, until the folder that they write to is gone.
        for _ in 0..100 {
            match fs::remove_dir_all(temporary) {
                Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                _ => break,
            }
        }
    }
}

/// The name that a file under construction will have, in a folder under construction too; any other path as it is.
pub fn final_name(path: &Path) -> PathBuf {
    let list = pending();
    let mut name = path.to_path_buf();
    // As deep as folders under construction lie in each other.
    for _ in 0..list.len() {
        let found = list.iter().find_map(|(temporary, dest)| match name.strip_prefix(temporary) {
            Ok(rest) if rest.as_os_str().is_empty() => Some(dest.clone()),
            Ok(rest) => Some(dest.join(rest)),
            Err(_) => None,
        });
        match found {
            Some(found) if found != name => name = found,
            _ => break,
        }
    }
    name
}
