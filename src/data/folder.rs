//! Image folders: one sub-folder per class.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// File name endings that are read, in lower case. The content decides how; these only say what counts as an image.
pub const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// An image file and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The image file.
    pub path: PathBuf,
    /// Place in [`ImageFolder::classes`].
    pub label: usize,
}

/// The layout of torchvision's `ImageFolder`: `<dir>/<class>/**/<image>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    root: PathBuf,
    classes: Vec<String>,
    samples: Vec<Sample>,
    ignored: BTreeMap<String, usize>,
}

impl ImageFolder {
    /// Lists `dir`; no image is opened yet.
    ///
    /// Labels are the places of the sub-folders' names in sorted order, or in `classes` where that is given (then it may
    /// hold classes without a folder). Images may lie in folders below a class folder; symbolic links are followed.
    /// Hidden files and folders, and files directly in `dir`, are skipped. Samples are sorted by label and path.
    ///
    /// Fails when `dir` is missing, has no sub-folders, when a class has no images or isn't in `classes`, and when
    /// links lead in a circle or nowhere.
    pub fn open(dir: &Path, classes: Option<&[String]>) -> Result<ImageFolder> {
        let folders = class_folders(dir)?;
        let classes = match classes {
            Some(given) => known_classes(dir, &folders, given)?,
            None => {
                refuse_splits(dir, &folders)?;
                folders.iter().map(|(name, _)| name.clone()).collect()
            }
        };
        let labels: BTreeMap<&str, usize> = classes.iter().enumerate().map(|(label, name)| (name.as_str(), label)).collect();
        let mut samples = Vec::new();
        let mut ignored = BTreeMap::new();
        let mut empty = Vec::new();
        for (name, path) in &folders {
            let before = samples.len();
            let mut skipped = BTreeMap::new();
            let mut walk = Walk {
                label: labels.get(name.as_str()).copied().unwrap_or(0),
                samples: &mut samples,
                ignored: &mut skipped,
                above: vec![],
            };
            walk.folder(path)?;
            if samples.len() == before {
                empty.push(if skipped.is_empty() { format!("`{name}`") } else { format!("`{name}` (only {})", counts(&skipped)) });
            }
            skipped.into_iter().for_each(|(ending, n)| *ignored.entry(ending).or_insert(0) += n);
        }
        if !empty.is_empty() {
            return Err(Error::data(format!(
                "{} has {} without images: {}. Put images ({}) into it, or remove the folder",
                dir.display(),
                if empty.len() == 1 { "a class folder" } else { "class folders" },
                few(&empty),
                EXTENSIONS.join(", ")
            )));
        }
        samples.sort_by(|a, b| (a.label, &a.path).cmp(&(b.label, &b.path)));
        Ok(ImageFolder { root: dir.to_path_buf(), classes, samples, ignored })
    }

    /// The folder that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Class names by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// All images, by class and name.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Number of images by label; 0 for a class that has no folder.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.samples.iter().for_each(|s| counts[s.label] += 1);
        counts
    }

    /// How many files in class folders are no images.
    pub fn ignored(&self) -> usize {
        self.ignored.values().sum()
    }

    /// What to tell the user about files that were skipped, such as `3 .txt, 1 without an ending`; `None` for none.
    pub fn ignored_summary(&self) -> Option<String> {
        (!self.ignored.is_empty()).then(|| counts(&self.ignored))
    }

    /// The same classes with some of the samples, given by their places. Fails when there is no such place.
    pub fn subset(&self, indices: &[usize]) -> Result<ImageFolder> {
        let pick = |&i: &usize| {
            self.samples.get(i).cloned().ok_or_else(|| {
                Error::data(format!("{} has {} images, there is no number {i} among them", self.root.display(), self.samples.len()))
            })
        };
        let samples = indices.iter().map(pick).collect::<Result<_>>()?;
        Ok(ImageFolder { root: self.root.clone(), classes: self.classes.clone(), samples, ignored: BTreeMap::new() })
    }
}

/// `3 .txt, 1 without an ending`
fn counts(endings: &BTreeMap<String, usize>) -> String {
    let one = |(ending, n): (&String, &usize)| if ending.is_empty() { format!("{n} without an ending") } else { format!("{n} .{ending}") };
    endings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The first ten, so that a message stays readable.
fn few(items: &[String]) -> String {
    let mut text = items.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > 10 {
        text.push_str(&format!(" and {} more", items.len() - 10));
    }
    text
}

fn hidden(name: &str) -> bool {
    name.starts_with('.')
}

/// Name and path of the entries of a folder, sorted by name; a name that is no UTF-8 is an error.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let read = std::fs::read_dir(dir).map_err(Error::io("cannot list the folder", dir))?;
    let mut list = Vec::new();
    for entry in read {
        let path = entry.map_err(Error::io("cannot list the folder", dir))?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(Error::data(format!("the name of {} is not valid UTF-8. Rename it", path.display())));
        };
        if !hidden(name) {
            list.push((name.to_string(), path));
        }
    }
    list.sort();
    Ok(list)
}

/// Follows links; one that leads nowhere or in a circle is an error.
fn is_folder(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(data) => Ok(data.is_dir()),
        Err(e) if path.is_symlink() => {
            Err(Error::data(format!("the symbolic link {} leads nowhere ({e}). Repair or remove it", path.display())))
        }
        Err(e) => Err(Error::io("cannot read", path)(e)),
    }
}

fn class_folders(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !dir.is_dir() {
        let what = if dir.exists() { "is not a folder" } else { "does not exist" };
        return Err(Error::data(format!(
            "the image folder {} {what}. Give the folder that holds one sub-folder of images per class",
            dir.display()
        )));
    }
    let mut folders = Vec::new();
    let mut loose = 0;
    for (name, path) in entries(dir)? {
        if is_folder(&path)? {
            folders.push((name, path));
        } else if ending(&path).is_ok() {
            loose += 1;
        }
    }
    if folders.is_empty() {
        let found = if loose > 0 { format!("; it holds {loose} images, but what class are they?") } else { String::new() };
        return Err(Error::data(format!(
            "{} has no class folders{found}. Make one sub-folder per class and put its images there",
            dir.display()
        )));
    }
    Ok(folders)
}

/// The parent of `train` and `val` is a frequent slip, and would give a network that tells train from val.
fn refuse_splits(dir: &Path, folders: &[(String, PathBuf)]) -> Result<()> {
    let split = |name: &str| ["train", "training", "val", "valid", "validation", "test", "testing"].contains(&name.to_lowercase().as_str());
    if folders.len() > 1 && folders.iter().all(|(name, _)| split(name)) {
        return Err(Error::data(format!(
            "the folders of {} are {}: these look like parts of a data set, not like classes. Give one of them, such as {}",
            dir.display(),
            few(&folders.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>()),
            folders[0].1.display()
        )));
    }
    Ok(())
}

fn known_classes(dir: &Path, folders: &[(String, PathBuf)], given: &[String]) -> Result<Vec<String>> {
    let mut sorted: Vec<&String> = given.iter().collect();
    sorted.sort();
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::data(format!("the list of classes has `{}` twice. Every label needs a name of its own", twice[0])));
    }
    let unknown: Vec<String> =
        folders.iter().filter(|(name, _)| sorted.binary_search(&name).is_err()).map(|(name, _)| format!("`{name}`")).collect();
    if !unknown.is_empty() {
        let known: Vec<String> = given.iter().map(|name| format!("`{name}`")).collect();
        return Err(Error::data(format!(
            "{} has class folders that the model does not know: {}. Its classes are {}. Rename or remove the folders, or make the model's head for these classes",
            dir.display(),
            few(&unknown),
            if known.is_empty() { "none at all".to_string() } else { few(&known) }
        )));
    }
    Ok(given.to_vec())
}

/// `Ok` with the ending of an image file, `Err` with that of another one (empty for none), in lower case.
fn ending(path: &Path) -> std::result::Result<String, String> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    if EXTENSIONS.contains(&ending.as_str()) { Ok(ending) } else { Err(ending) }
}

/// Collects the images of one class.
struct Walk<'a> {
    label: usize,
    samples: &'a mut Vec<Sample>,
    ignored: &'a mut BTreeMap<String, usize>,
    /// The folders that lead here, without links, to notice a circle.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: &Path) -> Result<()> {
        let real = dir.canonicalize().map_err(Error::io("cannot open the folder", dir))?;
        if self.above.contains(&real) {
            return Err(Error::data(format!(
                "{} leads back to {}: a circle of symbolic links. Remove the link",
                dir.display(),
                real.display()
            )));
        }
        self.above.push(real);
        for (_, path) in entries(dir)? {
            if is_folder(&path)? {
                self.folder(&path)?;
                continue;
            }
            match ending(&path) {
                Ok(_) => self.samples.push(Sample { path, label: self.label }),
                Err(other) => *self.ignored.entry(other).or_insert(0) += 1,
            }
        }
        self.above.pop();
        Ok(())
    }
}
