//! Image folders whose classes fit a network's.

use crate::data::ImageFolder;
use crate::error::{Error, Result};
use crate::field::Field;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Opens `dir` for a network of so many classes (`None`: not known). With `names` every class folder must be one of them;
/// without, there must be one folder for each class, for nothing else says which label a folder has.
pub(crate) fn open(dir: &Path, names: &[String], classes: Option<usize>) -> Result<ImageFolder> {
    if !names.is_empty() {
        return ImageFolder::open(dir, Some(names));
    }
    let folder = ImageFolder::open(dir, None)?;
    let found = folder.classes().len();
    match classes {
        Some(classes) if found != classes => Err(Error::data(format!(
            "{} has {found} class folders, but the network has {classes} classes{}",
            dir.display(),
            if found > classes {
                format!(": labels would lie outside its head. Rewrite the model with {} {found}, or remove folders", Field::CLASSES)
            } else {
                format!(
                    ", and nothing says which of them the folders are. Rewrite the model with {} {found} for a new head, or name the \
                     classes with {}",
                    Field::CLASSES,
                    Field::CLASS_NAMES
                )
            }
        ))),
        _ => Ok(folder),
    }
}

/// Class names from a text file, one on each line.
pub fn read_class_names(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("cannot read the class names", path))?;
    Ok(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect())
}

/// Identifies the list of images, so that a resumed run notices when it changed.
pub(crate) fn fingerprint(folder: &ImageFolder) -> String {
    let mut hash = Sha256::new();
    for sample in folder.samples() {
        let path = sample.path.strip_prefix(folder.root()).unwrap_or(&sample.path);
        hash.update(format!("{}\t{}\n", sample.label, path.display()));
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
