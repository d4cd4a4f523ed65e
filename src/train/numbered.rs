//! Folders for runs that nobody named a folder for.

use crate::error::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of runs that nobody named a folder for, as seen from where one works.
pub const RUNS: &str = "runs";

/// A folder for a run: the one that was named, or a new one that nobody else gets. It goes again unless something was put into it.
pub(super) struct Numbered {
    path: PathBuf,
    made: bool,
    root: bool,
}

impl Numbered {
    /// `named`, or the first of `runs/NAME`, `runs/NAME-2`, … that there is not.
    pub fn choose(named: Option<&Path>, name: impl FnOnce() -> String) -> Result<Numbered> {
        if let Some(path) = named {
            return Ok(Numbered { path: path.to_path_buf(), made: false, root: false });
        }
        let (name, root) = (plain(&name()), Path::new(RUNS));
        let new_root = match fs::create_dir(root) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("cannot create", root)(e)),
        };
        for number in 1u32.. {
            let path = root.join(if number == 1 { name.clone() } else { format!("{name}-{number}") });
            // Making it is what reserves it: of two processes one is first.
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Numbered { path, made: true, root: new_root }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("cannot create", &path)(e)),
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
        if self.made && fs::remove_dir(&self.path).is_ok() && self.root {
            let _ = fs::remove_dir(RUNS);
        }
    }
}

/// Without what would lead elsewhere or is hard to type.
fn plain(name: &str) -> String {
    let text: String = name.chars().map(|c| if c.is_alphanumeric() || "._-+".contains(c) { c } else { '-' }).collect();
    let text = text.trim_matches(['-', '.']);
    if text.is_empty() { "run".into() } else { text.into() }
}
