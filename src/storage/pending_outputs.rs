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
    // What lies in another one is replaced first: its name begins with that of the other.
    for _ in 0..list.len() {
        let inmost =
            list.iter().filter(|(temporary, _)| name.starts_with(temporary)).max_by_key(|(temporary, _)| temporary.as_os_str().len());
        let Some((Ok(rest), dest)) = inmost.map(|(temporary, dest)| (name.strip_prefix(temporary), dest)) else { break };
        let found = if rest.as_os_str().is_empty() { dest.clone() } else { dest.join(rest) };
        if found == name {
            break;
        }
        name = found;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_unfinished_folders_has_its_final_name() {
        let at = |name: &str| PathBuf::from("/nowhere").join(name);
        let _outer = PendingOutput::new(&at(".a"), &at("outer"));
        let _inner = PendingOutput::new(&at(".a/.b"), &at(".a/inner"));
        let _file = PendingOutput::new(&at(".a/.b/.c"), &at(".a/.b/file"));
        for (path, named) in
            [(".a", "outer"), (".a/x", "outer/x"), (".a/.b/x", "outer/inner/x"), (".a/.b/.c", "outer/inner/file"), (".ab", ".ab")]
        {
            assert_eq!(final_name(&at(path)), at(named), "{path}");
        }
    }
}
