//! Folders for runs that nobody named a folder for.

use super::run::{RunRecord, Status};
use crate::error::{Error, Result};
use crate::storage::beside::beside;
use crate::storage::run_folder::RunFolder;
use crate::storage::temporaries::{self, Reserved};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of runs that nobody named a folder for, as seen from where one works.
pub const RUNS: &str = "runs";

/// A folder for a run: the one that was named, or a new one that nobody else gets. It goes again unless something was put into it.
pub(super) struct Numbered {
    path: PathBuf,
    /// Of a folder that nobody named.
    reserved: Option<Reserved>,
    root: bool,
}

impl Numbered {
    /// `named`, or the first of `runs/NAME`, `runs/NAME-2`, … that there is not, or that a process left which was ended before it had anything to keep.
    pub fn choose(named: Option<&Path>, name: impl FnOnce() -> String) -> Result<Numbered> {
        if let Some(path) = named {
            return Ok(Numbered { path: path.to_path_buf(), reserved: None, root: false });
        }
        let (name, root) = (plain(&name()), Path::new(RUNS));
        let new_root = match fs::create_dir(root) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("cannot create", root)(e)),
        };
        temporaries::sweep(root);
        for number in 1u32.. {
            let behind = if number == 1 { String::new() } else { format!("-{number}") };
            let path = beside(&root.join(&name), "", &behind);
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists && is_left(&path)? => {}
                Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::io("cannot create", &path)(e)),
            }
            // Of two processes that come so far with one name, one gets it; and what the other has begun meanwhile is no leftover.
            if let Some(reserved) = Reserved::take(&path)?
                && is_left(&path)?
            {
                return Ok(Numbered { path, reserved: Some(reserved), root: new_root });
            }
        }
        Err(Error::usage(format!("there are too many runs called {name}: give the folder yourself")))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        // Only empty folders can be removed so.
        if self.reserved.is_some() {
            let removed = fs::remove_dir(&self.path).is_ok();
            // Its lock is in the folder above.
            self.reserved = None;
            if removed && self.root {
                let _ = fs::remove_dir(RUNS);
            }
        }
    }
}

/// Whether a folder is empty, or holds a run without weights that no process is at and that says nothing.
fn is_left(path: &Path) -> Result<bool> {
    let folder = RunFolder::new(path);
    if !folder.is_run() {
        // Something else than a folder is somebody's.
        return if path.is_dir() {
            fs::read_dir(path).map(|mut entries| entries.next().is_none()).map_err(Error::io("cannot read", path))
        } else {
            Ok(false)
        };
    }
    let Ok(record) = RunRecord::read(path) else { return Ok(false) };
    // What a run that failed has measured may say why.
    let worthless = match record.status {
        Status::Running | Status::Interrupted => true,
        Status::Failed => fs::metadata(folder.metrics()).is_ok_and(|found| found.len() == 0),
        Status::Complete => false,
    };
    Ok(worthless && !folder.has_weights() && folder.own_replaced()?.is_none() && folder.lock().is_ok())
}

/// Without what would lead elsewhere or is hard to type.
fn plain(name: &str) -> String {
    let text: String = name.chars().map(|c| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '-' }).collect();
    let text = text.trim_matches(['-', '.']);
    if text.is_empty() { "run".into() } else { text.into() }
}
