//! What lies in a folder of class folders: images, and what computers leave beside them.

use super::files::Files;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// File name endings that are read, in lower case. The content decides how; these only say what counts as an image.
pub const EXTENSIONS: [&str; 15] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "dib", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"];

/// Endings of images that are not read, so that nobody takes what is skipped for no image.
const UNREAD: [&str; 20] = [
    "avif", "heic", "heif", "jxl", "jp2", "j2k", "jxr", "svg", "psd", "tga", "exr", "hdr", "dng", "cr2", "cr3", "nef", "arw", "orf", "dcm",
    "ico",
];

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

/// Folders in each other, from the class folder on.
const DEEPEST: usize = 100;
/// Visits of folders that were seen before: links that lead to each other's folders can be followed in more ways than there are atoms.
const MOST_REPEATS: usize = 1000;

/// A folder with one sub-folder for each class.
pub(super) struct Listing {
    /// As it was given.
    pub root: PathBuf,
    /// The class folders' names, sorted.
    pub folders: Vec<String>,
    /// Image files, by class and path.
    pub files: Files,
    /// Each file's place in `folders`.
    pub classes: Vec<u32>,
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
    /// What is neither file nor folder, such as a pipe.
    special: usize,
    /// Names of folders that are no class and hold no image of one.
    folders: BTreeSet<String>,
    /// Names of images beside the class folders, which have no class.
    pub loose: Vec<String>,
    /// Where folders one level below look like the classes: which, and what to give then.
    pub deeper: Option<String>,
}

fn more(count: &mut usize, by: usize) {
    *count = count.saturating_add(by);
}

impl Skipped {
    fn add(&mut self, other: Skipped) {
        other.endings.into_iter().for_each(|(ending, n)| more(self.endings.entry(ending).or_insert(0), n));
        more(&mut self.hidden, other.hidden);
        more(&mut self.special, other.special);
        self.folders.extend(other.folders);
        self.loose.extend(other.loose);
    }

    /// `3 .txt, 1 without an ending, 2 hidden, the folder @eaDir`; `None` for nothing.
    pub fn summary(&self) -> Option<String> {
        let one = |(ending, n): (&String, &usize)| match ending.as_str() {
            "" => format!("{n} without an ending"),
            other if UNREAD.contains(&other) => format!("{n} .{ending} (images of a kind that is not read: convert them to JPEG or PNG)"),
            _ => format!("{n} .{ending}"),
        };
        let mut parts: Vec<String> = self.endings.iter().map(one).collect();
        parts.extend((self.hidden > 0).then(|| format!("{} hidden", self.hidden)));
        parts.extend((self.special > 0).then(|| format!("{} that are no regular files", self.special)));
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
        let root = dir.to_path_buf();
        let mut listing = Listing { root, folders: vec![], files: Files::default(), classes: vec![], skipped: Skipped::default() };
        let (mut empty, mut visited, mut inner) = (vec![], Default::default(), vec![]);
        for entry in entries(dir)? {
            if entry.hidden() {
                more(&mut listing.skipped.hidden, entry.folder as usize);
            } else if !entry.folder {
                listing.skipped.loose.extend(entry.is_image().then_some(entry.name));
            } else if is_litter(&entry.name, &LITTER) {
                listing.skipped.folders.insert(entry.name);
            } else {
                let before = listing.files.len();
                let mut walk = Walk::new(&mut listing.files, &mut visited);
                walk.folder(&entry.path)?;
                let (skipped, below) = (walk.skipped, walk.below);
                let found = listing.files.len().saturating_sub(before);
                match skipped.summary() {
                    _ if found > 0 => {}
                    _ if is_litter(&entry.name, &COPIES) => {
                        listing.skipped.folders.insert(entry.name);
                        continue;
                    }
                    None => empty.push(format!("`{}`", entry.name)),
                    Some(only) => empty.push(format!("`{}` (only {only})", entry.name)),
                }
                listing.classes.resize(listing.files.len(), listing.folders.len() as u32);
                listing.folders.push(entry.name);
                inner.push(below);
                listing.skipped.add(skipped);
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
        if let Some((twice, _)) = listing.folders.iter().zip(listing.folders.iter().skip(1)).find(|(a, b)| a == b) {
            return Err(Error::data(format!(
                "{} has two folders whose names are no valid UTF-8 and look the same, `{twice}`. Rename one",
                dir.display()
            )));
        }
        if listing.folders.is_empty() {
            let loose = listing.skipped.loose.len();
            let found = if loose > 0 { format!("; it holds {loose} images, but what class are they?") } else { String::new() };
            return Err(Error::data(format!(
                "{} has no class folders{found}. Make one sub-folder per class and put its images there",
                dir.display()
            )));
        }
        listing.skipped.deeper = deeper(dir, &listing.folders, &inner);
        Ok(listing)
    }
}

/// What to say where class folders hold no images themselves but folders that are called alike in all of them, or, of one class folder, several.
fn deeper(dir: &Path, folders: &[String], inner: &[BTreeSet<String>]) -> Option<String> {
    let (first, others) = inner.split_first()?;
    let alike: Vec<String> = first.iter().filter(|name| others.iter().all(|of| of.contains(*name))).cloned().collect();
    let [folder, more @ ..] = folders else { return None };
    (alike.len() > 1).then(|| {
        let (hold, itself) = if more.is_empty() { ("holds", "itself") } else { ("hold", "themselves") };
        let path = dir.join(folder);
        let (names, inner) = (few(&quoted(folders)), few(&quoted(&alike)));
        format!("{names} {hold} no images {itself} but the folders {inner}: if these are the classes, give {}", path.display())
    })
}

/// The first ten, so that a message stays readable.
pub(super) fn few(items: &[String]) -> String {
    let mut text = items.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > 10 {
        text.push_str(&format!(" and {} more", items.len().saturating_sub(10)));
    }
    text
}

/// Each in the marks that messages put around names.
pub(super) fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

fn is_litter(name: &str, list: &[&str]) -> bool {
    list.contains(&name.to_lowercase().as_str())
}

/// Whether a folder of that name is no class in any case.
pub(super) fn is_litter_name(name: &str) -> bool {
    is_litter(name, &LITTER)
}

/// Something in a folder; links are followed.
pub(super) struct Entry {
    /// For people: signs stand for what is no UTF-8.
    pub name: String,
    pub path: PathBuf,
    pub folder: bool,
    /// A file whose bytes can be read, where it is no folder.
    regular: bool,
    own: OsString,
}

impl Entry {
    fn hidden(&self) -> bool {
        self.name.starts_with('.')
    }

    /// In lower case, empty for none.
    pub fn ending(&self) -> String {
        ending(&self.path)
    }

    fn is_image(&self) -> bool {
        is_image_name(&self.path)
    }
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Whether a file of that name counts as an image.
pub(super) fn is_image_name(path: &Path) -> bool {
    EXTENSIONS.contains(&ending(path).as_str())
}

/// What a folder has that is not hidden, sorted by name.
pub(super) fn visible(dir: &Path) -> Result<Vec<Entry>> {
    let mut list = entries(dir)?;
    list.retain(|e| !e.hidden());
    Ok(list)
}

/// What a folder has, sorted by name. A link that leads nowhere or in a circle is an error, but that of an image.
fn entries(dir: &Path) -> Result<Vec<Entry>> {
    let read = std::fs::read_dir(dir).map_err(Error::io("cannot list the folder", dir))?;
    let mut list = Vec::new();
    for entry in read {
        let entry = entry.map_err(Error::io("cannot list the folder", dir))?;
        let (own, path) = (entry.file_name(), entry.path());
        let name = own.to_string_lossy().into_owned();
        // Most file systems tell the kind with the name, which saves asking for each file.
        let kind = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => Some(kind),
            _ => match std::fs::metadata(&path) {
                Ok(found) => Some(found.file_type()),
                // What is hidden is skipped in any case.
                Err(_) if name.starts_with('.') => None,
                // An image that cannot be read, as others are: it is counted, and named when it is opened.
                Err(_) if path.is_symlink() && is_image_name(&path) => {
                    list.push(Entry { name, path, folder: false, regular: true, own });
                    continue;
                }
                Err(e) => return Err(leads_nowhere(&path, e)),
            },
        };
        let (folder, regular) = (kind.is_some_and(|k| k.is_dir()), kind.is_some_and(|k| k.is_file()));
        list.push(Entry { name, path, folder, regular, own });
    }
    list.sort_by(|a, b| a.own.cmp(&b.own));
    Ok(list)
}

pub(super) fn leads_nowhere(path: &Path, error: std::io::Error) -> Error {
    if path.is_symlink() {
        return Error::data(format!("the symbolic link {} leads nowhere ({error}). Repair or remove it", path.display()));
    }
    Error::io("cannot open", path)(error)
}

/// Collects the images of one class, in the order of their paths.
struct Walk<'a> {
    files: &'a mut Files,
    skipped: Skipped,
    /// The folders that lead here, without links, to notice a circle.
    above: Vec<PathBuf>,
    /// Folders so far, of all classes and without links, and how many were seen before.
    visited: &'a mut (HashSet<PathBuf>, usize),
    /// Folders with images directly in the class folder; none where that has images itself.
    below: BTreeSet<String>,
    direct: bool,
}

impl<'a> Walk<'a> {
    fn new(files: &'a mut Files, visited: &'a mut (HashSet<PathBuf>, usize)) -> Walk<'a> {
        Walk { files, skipped: Skipped::default(), above: vec![], visited, below: BTreeSet::new(), direct: false }
    }

    fn folder(&mut self, dir: &Path) -> Result<()> {
        let real = dir.canonicalize().map_err(Error::io("cannot open the folder", dir))?;
        if self.above.contains(&real) {
            return Err(Error::data(format!(
                "{} leads back to {}: a circle of symbolic links. Remove the link",
                dir.display(),
                real.display()
            )));
        }
        if !self.visited.0.insert(real.clone()) {
            more(&mut self.visited.1, 1);
        }
        let limit = match (self.above.len() >= DEEPEST, self.visited.1 > MOST_REPEATS) {
            (true, _) => Some(format!("lies in more than {DEEPEST} folders")),
            (_, true) => Some(format!("is one of more than {MOST_REPEATS} folders that symbolic links lead to again")),
            _ => None,
        };
        if let Some(why) = limit {
            return Err(Error::data(format!(
                "{} {why}: that is no image folder. Move the images, or remove what leads there",
                dir.display()
            )));
        }
        self.above.push(real);
        let mut place = None;
        for entry in entries(dir)? {
            if entry.hidden() {
                more(&mut self.skipped.hidden, 1);
            } else if entry.folder && (is_litter(&entry.name, &LITTER) || is_litter(&entry.name, &COPIES)) {
                self.skipped.folders.insert(entry.name);
            } else if entry.folder {
                let before = self.files.len();
                self.folder(&entry.path)?;
                if self.above.len() == 1 && self.files.len() > before {
                    self.below.insert(entry.name);
                }
            } else if !entry.is_image() {
                more(self.skipped.endings.entry(entry.ending()).or_insert(0), 1);
            } else if !entry.regular {
                more(&mut self.skipped.special, 1);
            } else {
                let folder = *place.get_or_insert_with(|| self.files.add_folder(dir.to_path_buf()));
                self.files.add(folder, &entry.own);
                self.direct |= self.above.len() == 1;
            }
        }
        self.above.pop();
        if self.direct {
            self.below.clear();
        }
        Ok(())
    }
}
