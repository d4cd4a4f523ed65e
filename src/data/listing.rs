//! What lies in a folder of class folders: images, and what computers leave beside them.

use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// File name endings that are read, in lower case. The content decides how; these only say what counts as an image.
pub const EXTENSIONS: [&str; 15] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"];

/// Folders that archivers, file managers, storage devices and notebooks make, in lower case. What looks like an image in them is none, or a
/// copy of one.
const LITTER: [&str; 10] = [
    "__macosx",
    "@eadir",
    "@__thumb",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "lost+found",
    "system volume information",
    "__pycache__",
];

/// Folders of small copies of the images beside them, in lower case. A class may be called so, if it has images.
const COPIES: [&str; 5] = ["thumbnails", "thumbnail", "thumbs", "thumb", "_thumbs"];

/// A folder with one sub-folder for each class.
pub(super) struct Listing {
    /// As it was given.
    pub root: PathBuf,
    /// The class folders' names, sorted.
    pub folders: Vec<String>,
    /// Image files, each with its place in `folders`; sorted.
    pub images: Vec<(usize, PathBuf)>,
    /// What is no class and no image.
    pub skipped: Skipped,
}

/// What was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Skipped {
    /// Files in class folders by their ending, which is no image's.
    pub endings: BTreeMap<String, usize>,
    /// Files and folders whose names begin with a dot.
    hidden: usize,
    /// Names of folders that are no class and hold no image of one.
    folders: BTreeSet<String>,
}

impl Skipped {
    fn add(&mut self, other: Skipped) {
        other.endings.into_iter().for_each(|(ending, n)| *self.endings.entry(ending).or_insert(0) += n);
        self.hidden += other.hidden;
        self.folders.extend(other.folders);
    }

    /// `3 .txt, 1 without an ending, 2 hidden, the folder @eaDir`; `None` for nothing.
    pub fn summary(&self) -> Option<String> {
        let one =
            |(ending, n): (&String, &usize)| if ending.is_empty() { format!("{n} without an ending") } else { format!("{n} .{ending}") };
        let mut parts: Vec<String> = self.endings.iter().map(one).collect();
        parts.extend((self.hidden > 0).then(|| format!("{} hidden", self.hidden)));
        let folders: Vec<String> = self.folders.iter().cloned().collect();
        parts.extend((!folders.is_empty()).then(|| format!("the folder{} {}", if folders.len() > 1 { "s" } else { "" }, few(&folders))));
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

impl Listing {
    /// Lists `dir`; no image is opened. Images may lie in folders below a class folder; symbolic links are followed.
    ///
    /// Fails when `dir` is missing or has no class folders, when one of them has no images, and when links lead in a circle or nowhere.
    pub fn read(dir: &Path) -> Result<Listing> {
        if !dir.is_dir() {
            let what = if dir.exists() { "is not a folder" } else { "does not exist" };
            return Err(Error::data(format!(
                "the image folder {} {what}. Give the folder that holds one sub-folder of images per class",
                dir.display()
            )));
        }
        let mut listing = Listing { root: dir.to_path_buf(), folders: vec![], images: vec![], skipped: Skipped::default() };
        let (mut loose, mut empty) = (0, vec![]);
        for (name, path) in entries(dir)? {
            if hidden(&name) {
                listing.skipped.hidden += is_folder(&path)? as usize;
            } else if !is_folder(&path)? {
                loose += ending(&path).is_ok() as usize;
            } else if is_litter(&name, &LITTER) {
                listing.skipped.folders.insert(name);
            } else {
                let mut walk = Walk { folder: listing.folders.len(), images: vec![], skipped: Skipped::default(), above: vec![] };
                walk.folder(&path)?;
                match walk.skipped.summary() {
                    _ if !walk.images.is_empty() => {}
                    _ if is_litter(&name, &COPIES) => {
                        listing.skipped.folders.insert(name);
                        continue;
                    }
                    None => empty.push(format!("`{name}`")),
                    Some(only) => empty.push(format!("`{name}` (only {only})")),
                }
                listing.folders.push(name);
                listing.images.extend(walk.images);
                listing.skipped.add(walk.skipped);
            }
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
        if let Some(pair) = listing.folders.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::data(format!(
                "{} has two folders whose names are no valid UTF-8 and look the same, `{}`. Rename one",
                dir.display(),
                pair[0]
            )));
        }
        if listing.folders.is_empty() {
            let found = if loose > 0 { format!("; it holds {loose} images, but what class are they?") } else { String::new() };
            return Err(Error::data(format!(
                "{} has no class folders{found}. Make one sub-folder per class and put its images there",
                dir.display()
            )));
        }
        listing.images.sort();
        Ok(listing)
    }
}

/// The first ten, so that a message stays readable.
pub(super) fn few(items: &[String]) -> String {
    let mut text = items.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > 10 {
        text.push_str(&format!(" and {} more", items.len() - 10));
    }
    text
}

fn hidden(name: &str) -> bool {
    name.starts_with('.')
}

fn is_litter(name: &str, list: &[&str]) -> bool {
    list.contains(&name.to_lowercase().as_str())
}

/// Name and path of the entries of a folder, sorted; where a name is no UTF-8, signs stand for what cannot be shown.
fn entries(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let read = std::fs::read_dir(dir).map_err(Error::io("cannot list the folder", dir))?;
    let mut list = Vec::new();
    for entry in read {
        let entry = entry.map_err(Error::io("cannot list the folder", dir))?;
        list.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
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

/// `Ok` with the ending of an image file, `Err` with that of another one (empty for none), in lower case.
fn ending(path: &Path) -> std::result::Result<String, String> {
    let ending = path.extension().map(OsStr::to_string_lossy).unwrap_or_default().to_lowercase();
    if EXTENSIONS.contains(&ending.as_str()) { Ok(ending) } else { Err(ending) }
}

/// Collects the images of one class.
struct Walk {
    /// The class folder's place.
    folder: usize,
    images: Vec<(usize, PathBuf)>,
    skipped: Skipped,
    /// The folders that lead here, without links, to notice a circle.
    above: Vec<PathBuf>,
}

impl Walk {
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
        for (name, path) in entries(dir)? {
            if hidden(&name) {
                self.skipped.hidden += 1;
            } else if !is_folder(&path)? {
                match ending(&path) {
                    Ok(_) => self.images.push((self.folder, path)),
                    Err(other) => *self.skipped.endings.entry(other).or_insert(0) += 1,
                }
            } else if is_litter(&name, &LITTER) || is_litter(&name, &COPIES) {
                self.skipped.folders.insert(name);
            } else {
                self.folder(&path)?;
            }
        }
        self.above.pop();
        Ok(())
    }
}
