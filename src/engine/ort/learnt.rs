//! What was learnt of a library file is not learnt again in the same process: hashing one takes a tenth of a second, trying one out in a process of its own more.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

/// What a file is known by: another one under its name has another size, time of change or number.
type Stamp = (u64, Option<SystemTime>, u64);

/// Results by file.
pub(super) struct Learnt<T>(Mutex<Option<HashMap<(PathBuf, Stamp), T>>>);

#[cfg(unix)]
fn number(data: &Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    data.ino()
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> u64 {
    0
}

impl<T: Clone> Learnt<T> {
    pub const fn new() -> Learnt<T> {
        Learnt(Mutex::new(None))
    }

    /// The result for the file as it is now; `learn` is asked once.
    pub fn of(&self, path: &Path, learn: impl FnOnce(&Path) -> T) -> T {
        let Ok(data) = std::fs::metadata(path) else { return learn(path) };
        let key = (path.to_path_buf(), (data.len(), data.modified().ok(), number(&data)));
        let lock = || self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = lock().as_ref().and_then(|all| all.get(&key)) {
            return known.clone();
        }
        // Not under the lock: it may take a while.
        let found = learn(path);
        lock().get_or_insert_with(HashMap::new).insert(key, found.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_file_is_looked_at_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let (path, asked, learnt) = (dir.path().join("lib.so"), Cell::new(0), Learnt::new());
        let look = |path: &Path| {
            asked.set(asked.get() + 1);
            std::fs::read(path).ok()
        };
        std::fs::write(&path, b"one").unwrap();
        assert_eq!([(); 3].map(|()| learnt.of(&path, look)), [(); 3].map(|()| Some(b"one".to_vec())));
        assert_eq!(asked.get(), 1);
        std::fs::write(&path, b"another").unwrap();
        assert_eq!((learnt.of(&path, look), asked.get()), (Some(b"another".to_vec()), 2));
        std::fs::remove_file(&path).unwrap();
        assert_eq!((learnt.of(&path, look), asked.get()), (None, 3));
    }
}
