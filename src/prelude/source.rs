//! Where images come from.

use crate::data::ImageSet;
use std::path::{Path, PathBuf};

/// Images of a folder, a list or a file of arrays, or in memory.
#[derive(Debug, Clone)]
pub enum Source {
    /// A folder with one sub-folder per class, a CSV of paths and labels, a `.npz` or safetensors file.
    Path(PathBuf),
    /// See [`ImageSet::labelled`].
    Memory(Box<ImageSet>),
}

impl From<ImageSet> for Source {
    fn from(images: ImageSet) -> Source {
        Source::Memory(Box::new(images))
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Source {
        Source::Path(path)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Source {
        Source::Path(path.into())
    }
}

impl From<&PathBuf> for Source {
    fn from(path: &PathBuf) -> Source {
        Source::Path(path.clone())
    }
}

impl From<&str> for Source {
    fn from(path: &str) -> Source {
        Source::Path(path.into())
    }
}

impl From<String> for Source {
    fn from(path: String) -> Source {
        Source::Path(path.into())
    }
}
