//! Locks that end with their process: one process at a time writes to a folder or a file.
//!
//! A lock is a file of its own with an advisory lock of the operating system on it, so that it works wherever such locks do, on network file systems
//! too, and ends when the process does, however that happens. The file says who holds it, and goes with the lock.

use crate::error::{Error, Result};
use crate::storage::notices;
use crate::storage::pending_outputs::final_name;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// How often a lock is tried for once more, with some milliseconds between: who only asks who holds it has it for a moment.
const ASKED: usize = 3;

/// A lock that is held for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock whose file is `path`. Fails at once where another process, or this one, has it: `busy` makes the error of who that is.
    ///
    /// Where the file system has no locks, that is said, and the work goes on.
    pub fn take(path: &Path, busy: impl FnOnce(&str) -> Error) -> Result<Lock> {
        let failed = |e| Error::io("cannot lock", path)(e);
        // Once more where the file went away with its former lock just then, or where somebody asked who holds it ([`Lock::holder`]).
        for turn in 0..100 {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOFOLLOW);
            let mut file = options.open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if !is_at(&file, path) => continue,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if turn < ASKED => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    continue;
                }
                Err(TryLockError::WouldBlock) => return Err(busy(&holder(&mut file))),
                Err(TryLockError::Error(e)) => notices::leave(format!(
                    "the file system of {} has no locks ({e}): make sure that no second process writes there",
                    final_name(path).display()
                )),
            }
            // For people only: that it cannot be written is no reason to stop.
            let _ = file.set_len(0).and_then(|()| file.write_all(this_process().as_bytes()));
            return Ok(Lock { file, path: path.to_path_buf() });
        }
        Err(failed(io::Error::other("other processes take the lock again and again")))
    }

    /// Who holds the lock whose file is `path`, as it says itself; `None` where nobody does, and where that cannot be told.
    pub fn holder(path: &Path) -> Option<String> {
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOFOLLOW);
        let mut file = options.open(path).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(holder(&mut file)),
            _ => None,
        }
    }

    /// The lock's file is at `path` now, if it is: the folder of it was to get another name.
    pub fn followed_to(&mut self, path: PathBuf) {
        if !is_at(&self.file, &self.path) && is_at(&self.file, &path) {
            self.path = path;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is held nobody else can have taken the file for theirs.
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whether the file still has that name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Elsewhere an open file keeps its name.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Who holds it, as it says itself.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(io::SeekFrom::Start(0)).and_then(|_| file.take(200).read_to_string(&mut text));
    let text = text.trim();
    if read.is_ok() && !text.is_empty() && text.chars().all(|c| !c.is_control()) { text.into() } else { "another process".into() }
}

fn this_process() -> String {
    #[cfg(unix)]
    let host = nix::unistd::gethostname().map_or(String::new(), |name| format!(" on {}", name.to_string_lossy()));
    #[cfg(not(unix))]
    let host = String::new();
    format!("process {}{host}\n", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_the_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.lock");
        let busy = |who: &str| Error::usage(format!("held by {who}"));
        let first = Lock::take(&path, busy).unwrap();
        let refused = Lock::take(&path, busy).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("held by process {}", std::process::id())), "{refused}");
        assert_eq!(Lock::holder(&path).map(|who| format!("held by {who}")), Some(refused));
        drop(first);
        assert!(!path.exists() && Lock::holder(&path).is_none());
        // What a killed process left is taken over.
        std::fs::write(&path, "process 1 on elsewhere\n").unwrap();
        let second = Lock::take(&path, busy).unwrap();
        // A file of another lock under the same name stays.
        std::fs::remove_file(&path).unwrap();
        let third = Lock::take(&path, busy).unwrap();
        drop(second);
        assert!(path.exists());
        drop(third);
        assert!(!path.exists());
        // It follows its folder, and no other lock of the name.
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        for moved in [false, true] {
            std::fs::create_dir(&before).unwrap();
            let mut lock = Lock::take(&before.join("run.lock"), busy).unwrap();
            match moved {
                true => std::fs::rename(&before, &after).unwrap(),
                false => std::fs::create_dir(&after).unwrap(),
            }
            lock.followed_to(after.join("run.lock"));
            drop(lock);
            assert!(!before.join("run.lock").exists() && !after.join("run.lock").exists(), "moved: {moved}");
            let _ = (std::fs::remove_dir(&before), std::fs::remove_dir(&after));
        }
    }
}
