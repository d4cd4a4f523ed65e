//! Many image files, with little memory for each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Files by number. Each folder's path is kept once; 200,000 files take about 12 MB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    folders: Vec<PathBuf>,
    /// The folder's place, and the name in it.
    files: Vec<(u32, Box<OsStr>)>,
}

impl Files {
    /// The place of a further folder.
    pub fn add_folder(&mut self, path: PathBuf) -> u32 {
        let place = self.folders.len() as u32;
        self.folders.push(path);
        place
    }

    /// A further file in the folder at that place.
    pub fn add(&mut self, folder: u32, name: &OsStr) {
        self.files.push((folder, name.into()));
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The path of a file; an empty one where there is no such number.
    pub fn path(&self, number: usize) -> PathBuf {
        let Some((folder, name)) = self.files.get(number) else { return PathBuf::new() };
        self.folders.get(*folder as usize).map_or(Path::new(""), PathBuf::as_path).join(Path::new(name))
    }
}
