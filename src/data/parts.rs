//! Folders that are divided into parts for training, validation and test, each with class folders of its own.

use super::listing::{EXTENSIONS, Entry, few, is_litter_name, quoted, visible};
use crate::error::{Error, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a part of a data set is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What a network learns from.
    Training,
    /// What choices are made by while it learns.
    Validation,
    /// What it is judged by in the end, and nothing else.
    Test,
}

/// Words beside a part's name that say nothing.
const DATA: [&str; 10] = ["data", "dataset", "set", "images", "image", "imgs", "img", "photos", "pictures", "split"];

impl Part {
    /// All of them.
    pub const ALL: [Part; 3] = [Part::Training, Part::Validation, Part::Test];

    /// What such a folder may be called, in lower case.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Part::Training => &["train", "training"],
            Part::Validation => &["val", "valid", "validation", "eval", "evaluation", "dev"],
            Part::Test => &["test", "testing"],
        }
    }

    /// The part for which a folder or array of that name is, such as `train`, `Training Set` or `test_images`.
    pub fn called(name: &str) -> Option<Part> {
        let name = name.to_lowercase();
        let mut words = name.split([' ', '_', '-', '.']).filter(|word| !word.is_empty() && !DATA.contains(word));
        let (Some(word), None) = (words.next(), words.next()) else { return None };
        let named = |part: &Part| part.names().contains(&word) || word.strip_suffix("set").is_some_and(|word| part.names().contains(&word));
        Part::ALL.into_iter().find(named)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Training => "training",
            Part::Validation => "validation",
            Part::Test => "test",
        })
    }
}

/// The parts of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parts {
    found: Vec<(Part, PathBuf)>,
    /// Names of folders beside them, which hold no images.
    pub beside: Vec<String>,
}

impl Parts {
    /// The folder of a part.
    pub fn get(&self, part: Part) -> Option<&PathBuf> {
        self.found.iter().find(|(p, _)| *p == part).map(|(_, path)| path)
    }

    /// The folder of the first part that there is.
    pub fn first(&self) -> &Path {
        self.found.first().map_or(Path::new("."), |(_, path)| path)
    }

    /// `train, val and test`
    pub fn shown(&self) -> String {
        let names: Vec<String> = self.found.iter().map(|(_, path)| name_of(path)).collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.join(", "),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The parts of `dir`, where its folders are parts and not classes: all of them are called so, or two and nothing beside them holds images,
/// and those of a part are class folders in their turn. A network whose classes are called like these folders knows better.
pub(super) fn parts(dir: &Path, classes: &[String]) -> Result<Option<Parts>> {
    let folders: Vec<Entry> = visible(dir)?.into_iter().filter(|e| e.folder && !is_litter_name(&e.name)).collect();
    let (called, others): (Vec<&Entry>, Vec<&Entry>) = folders.iter().partition(|e| Part::called(&e.name).is_some());
    let classes_of_network = !classes.is_empty() && folders.iter().all(|e| classes.contains(&e.name));
    if called.is_empty() || classes_of_network || (called.len() == 1 && !others.is_empty()) {
        return Ok(None);
    }
    let shapes = called.iter().map(|e| Shape::of(&e.path)).collect::<Result<Vec<_>>>()?;
    let nested = shapes.iter().all(|s| s.folders && !s.images);
    if !nested && (!others.is_empty() || called.len() == 1) {
        return Ok(None);
    }
    if !nested {
        let names: Vec<String> = called.iter().map(|e| e.name.clone()).collect();
        return Err(Error::data(format!(
            "the folders of {} are {}: these look like parts of a data set, not like classes, and not all of them have class folders. Put the images \
             of each part into one sub-folder per class",
            dir.display(),
            few(&quoted(&names))
        )));
    }
    let mut parts = Parts::default();
    for entry in &others {
        if Shape::of(&entry.path)?.any() {
            return Err(Error::data(format!(
                "{} has the folders {}, which look like parts of a data set, and beside them `{}`, which holds images: is it a class? Give one part, such \
                 as {}, or move the other folders away",
                dir.display(),
                few(&quoted(&called.iter().map(|e| e.name.clone()).collect::<Vec<_>>())),
                entry.name,
                called.first().map_or(dir, |entry| entry.path.as_path()).display()
            )));
        }
        parts.beside.push(entry.name.clone());
    }
    for part in Part::ALL {
        let own: Vec<&&Entry> = called.iter().filter(|e| Part::called(&e.name) == Some(part)).collect();
        match own[..] {
            [] => {}
            [one] => parts.found.push((part, one.path.clone())),
            [a, b, ..] => {
                return Err(Error::data(format!(
                    "{} has two folders of {part} images, `{}` and `{}`. Join them, or move one away",
                    dir.display(),
                    a.name,
                    b.name
                )));
            }
        }
    }
    Ok(Some(parts))
}

/// What a folder has directly below it.
struct Shape {
    folders: bool,
    images: bool,
}

impl Shape {
    fn of(dir: &Path) -> Result<Shape> {
        let mut shape = Shape { folders: false, images: false };
        for entry in visible(dir)? {
            shape.folders |= entry.folder && !is_litter_name(&entry.name);
            shape.images |= !entry.folder && EXTENSIONS.contains(&entry.ending().as_str());
        }
        Ok(shape)
    }

    fn any(&self) -> bool {
        self.folders || self.images
    }
}
