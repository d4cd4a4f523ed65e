//! Finding out what a path holds: folders of images, a list, arrays, or parts of them.

use super::array_file::ArrayFile;
use super::array_set::{self, ArraySet};
use super::csv_list::{self, List};
use super::given::Given;
use super::image_set::ImageSet;
use super::joined_labels;
use super::labels::{self, KnownClasses, Labels, Place};
use super::listing::{Listing, Skipped, few, quoted};
use super::parts::{self, Part, Parts};
use super::pixels::Store;
use super::row_faults::Faults;
use super::targets::{TargetKind, Targets};
use crate::error::{Error, Result};
use crate::nearest;
use crate::onnx;
use crate::storage::presence;
use ndarray::Array2;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

impl ImageSet {
    /// Lists `path`; no image is opened yet.
    ///
    /// Of a folder, labels are the places of the sub-folders' names in sorted order (by their numbers, where all of them are numbers), or in `classes`
    /// where that is given (then it may hold classes without a folder). Images may lie in folders below a class folder; symbolic links are followed.
    /// Hidden files and folders, files directly in the folder, and folders that computers make (such as `__MACOSX`) are skipped. Samples are sorted
    /// by label and path. Of what is divided into parts the training part is taken. A file is a list or holds arrays, see `docs/images.md`.
    ///
    /// Fails when `path` is missing, has no sub-folders, when a class has no images or isn't in `classes`, when
    /// links lead in a circle or nowhere, and for a list or arrays with any fault.
    pub fn open(path: &Path, classes: Option<&[String]>) -> Result<ImageSet> {
        ImageSet::open_for(path, &KnownClasses { names: classes.unwrap_or_default(), ..KnownClasses::default() })
    }

    /// As [`ImageSet::open`], for a network of which more is known than the names of its classes.
    pub fn open_for(path: &Path, known: &KnownClasses) -> Result<ImageSet> {
        ImageSet::open_part(path, known, &[Part::Training])
    }

    /// As [`ImageSet::open_for`]; of what is divided the first of those parts that there is. Fails where there is none of them.
    pub fn open_part(path: &Path, known: &KnownClasses, wanted: &[Part]) -> Result<ImageSet> {
        match kind_of(path)? {
            Found::Folder => match parts::parts(path, known.names)? {
                None => list_folder(path, known),
                Some(parts) => {
                    let Some((part, folder)) = wanted.iter().find_map(|&part| Some((part, parts.get(part)?))) else {
                        return Err(no_part(path, &parts.shown(), wanted, &parts.first().display().to_string()));
                    };
                    let mut set = list_folder(folder, known)?;
                    set.told.insert(0, told(path, &parts, part, folder));
                    Ok(set)
                }
            },
            Found::List => part_of_list(path, csv_list::read(path)?, known, wanted),
            Found::Arrays(mut file) => {
                let parts = array_set::parts(path, file.names())?;
                let part =
                    if parts.is_empty() { None } else { Some(some_part(path, &parts, wanted, "a file with the images that are meant")?) };
                from_arrays(path, &mut file, part, known)
            }
        }
    }

    /// Whether `path` is divided and has a part for that purpose beside these images. Of a folder nothing of the part is listed.
    pub fn has_part(&self, path: &Path, part: Part) -> Result<bool> {
        Ok(match kind_of(path)? {
            Found::Folder => parts::parts(path, &self.classes)?.is_some_and(|parts| parts.get(part).is_some()),
            // Of a list that is not divided no file is looked for.
            Found::List => csv_list::is_divided(path)? && csv_list::read(path)?.parts().contains(&part),
            Found::Arrays(file) => array_set::parts(path, file.names())?.contains(&part),
        })
    }

    /// The part of `path` for that purpose, where `path` is divided and has one, as images of the classes of `self`. See [`ImageSet::beside`].
    pub fn other_part(&self, path: &Path, part: Part) -> Result<Option<ImageSet>> {
        // A divided list is read once, for both questions.
        if let Found::List = kind_of(path)? {
            if !csv_list::is_divided(path)? {
                return Ok(None);
            }
            let list = csv_list::read(path)?;
            if !list.parts().contains(&part) {
                return Ok(None);
            }
            return self.beside_these(path, part, |known, wanted| part_of_list(path, list, known, wanted)).map(Some);
        }
        if self.has_part(path, part)? { self.beside(path, part).map(Some) } else { Ok(None) }
    }

    /// Images for that purpose in `path`, of the classes of these training images; where `path` is divided, its part for it. Fails for a class that
    /// the training images lack; that there are fewer is told by [`ImageSet::notes`].
    pub fn beside(&self, path: &Path, part: Part) -> Result<ImageSet> {
        self.beside_these(path, part, |known, wanted| ImageSet::open_part(path, known, wanted))
    }

    fn beside_these(&self, path: &Path, part: Part, open: impl FnOnce(&KnownClasses, &[Part]) -> Result<ImageSet>) -> Result<ImageSet> {
        let targets = match &self.targets {
            Targets::Classes(_) => TargetKind::Class,
            Targets::Several(_) => TargetKind::Several,
            Targets::Numbers(numbers) => TargetKind::Numbers(numbers.ncols()),
        };
        let known = KnownClasses { names: &self.classes, targets: Some(targets), ..KnownClasses::default() };
        let wanted: &[Part] = if part == Part::Test { &[Part::Test, Part::Validation] } else { &[part] };
        let mut set = open(&known, wanted).map_err(|e| match e {
            Error::Data(why) if why.contains("does not know") => {
                Error::data(format!("the {part} images have classes that the training images in {} lack: {why}", self.root.display()))
            }
            other => other,
        })?;
        if set.target_columns() != self.target_columns() {
            return Err(Error::data(format!(
                "the {part} images in {} have {}, and the training images in {} {}",
                path.display(),
                shown(&set.targets),
                self.root.display(),
                shown(&self.targets)
            )));
        }
        set.tell_lacking(self);
        Ok(set)
    }
}

fn shown(targets: &Targets) -> String {
    match targets {
        Targets::Classes(_) => "one class each".into(),
        Targets::Several(_) => "several classes each".into(),
        Targets::Numbers(numbers) => format!("{} numbers each", numbers.ncols()),
    }
}

/// The first of the `wanted` parts that is there.
fn some_part(path: &Path, there: &[Part], wanted: &[Part], way: &str) -> Result<Part> {
    let all: Vec<String> = there.iter().map(Part::to_string).collect();
    wanted.iter().find(|part| there.contains(part)).copied().ok_or_else(|| no_part(path, &all.join(" and "), wanted, way))
}

fn no_part(path: &Path, parts: &str, wanted: &[Part], way: &str) -> Error {
    let wanted: Vec<String> = wanted.iter().map(Part::to_string).collect();
    Error::data(format!(
        "{} is divided into {parts} and has no {} images. Give the images that are meant, such as {way}",
        path.display(),
        wanted.join(" or ")
    ))
}

/// What a path is.
enum Found {
    Folder,
    List,
    Arrays(ArrayFile),
}

/// Looks at the content, whatever a file is called.
fn kind_of(path: &Path) -> Result<Found> {
    let Some(found) = presence::at(path)? else {
        return Err(Error::data(format!(
            "the image folder {} does not exist. Give the folder that holds one sub-folder of images per class{}",
            path.display(),
            nearest::beside(path)
        )));
    };
    if found.is_dir() {
        return Ok(Found::Folder);
    }
    if !found.is_file() {
        return Err(Error::data(format!("{} is neither a folder nor a regular file", path.display())));
    }
    let mut start = vec![];
    let file = File::open(path).map_err(Error::io("cannot open", path))?;
    file.take(onnx::HEAD as u64).read_to_end(&mut start).map_err(Error::io("cannot read", path))?;
    if image::guess_format(&start).is_ok() || super::listing::is_image_name(path) {
        return Err(Error::data(format!(
            "{} is not a folder but one image. Give the folder that holds one sub-folder of images per class",
            path.display()
        )));
    }
    if let Some(what) = onnx::in_place_of(&start) {
        return Err(Error::data(format!("{} is {what}", path.display())));
    }
    Ok(ArrayFile::open(path, &start)?.map_or(Found::List, Found::Arrays))
}

fn list_folder(dir: &Path, known: &KnownClasses) -> Result<ImageSet> {
    let listing = Listing::read(dir)?;
    let Labels { classes, labels, assumed } = labels::assign(Place::folder(dir), &listing.folders, known)?;
    // What is known of a network was said of it.
    let alike = labels::alike(Place::folder(dir), &classes).filter(|_| known.names.is_empty());
    let label = |class: &u32| labels.get(*class as usize).copied().unwrap_or(0) as u32;
    let labels_of_files: Vec<u32> = listing.classes.iter().map(label).collect();
    let mut places: Vec<u32> = (0..listing.files.len() as u32).collect();
    // Files are in the order of their paths already.
    let label_of = |place: u32| labels_of_files.get(place as usize).copied().unwrap_or(0);
    places.sort_by_key(|&place| label_of(place));
    Ok(ImageSet {
        root: listing.root,
        classes,
        targets: Targets::Classes(places.iter().map(|&place| label_of(place)).collect()),
        places,
        store: Arc::new(Store::Files(listing.files)),
        skipped: listing.skipped,
        labels_assumed: assumed.is_some(),
        told: assumed.into_iter().chain(alike).collect(),
    })
}

/// What a folder is divided into, and which part was taken.
fn told(dir: &Path, parts: &Parts, part: Part, path: &Path) -> String {
    let beside =
        if parts.beside.is_empty() { String::new() } else { format!("; {} beside them holds no images", few(&quoted(&parts.beside))) };
    format!("{} is divided into {}{beside}: the {part} images are {}", dir.display(), parts.shown(), path.display())
}

/// The first of the wanted parts that a list has, or all of one that is not divided.
fn part_of_list(path: &Path, mut list: List, known: &KnownClasses, wanted: &[Part]) -> Result<ImageSet> {
    // All parts have the same labels, so that they are looked at before one is taken.
    joined_labels::divide(path, &mut list, known);
    if list.divided {
        let part = some_part(path, &list.parts(), wanted, "a list of the images that are meant")?;
        list.keep(part);
        list.notes.push(format!("its {part} images are taken"));
    }
    from_list(path, list, known)
}

fn from_list(path: &Path, list: List, known: &KnownClasses) -> Result<ImageSet> {
    let mut notes = list.notes.clone();
    let given = given_of(path, &list, known)?;
    let at = |i: usize| format!("line {}", list.line(i));
    let (classes, targets, assumed) = given.understood(Place::file(path), known, &at)?;
    let labels_assumed = assumed.is_some();
    notes.extend(assumed);
    notes.extend(labels::alike(Place::file(path), &classes).filter(|_| known.names.is_empty()));
    // The order of the lines has no influence.
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let class = |i: usize| if let Targets::Classes(labels) = &targets { labels.get(i).copied().unwrap_or(0) } else { 0 };
    let place = |i: usize| list.rows.get(i).map_or(0, |row| row.place);
    order.sort_by_cached_key(|&i| (class(i), list.files.path(place(i) as usize)));
    Ok(ImageSet {
        root: path.to_path_buf(),
        classes,
        places: order.iter().map(|&i| place(i)).collect(),
        targets: targets.subset(&order),
        store: Arc::new(Store::Files(list.files)),
        skipped: Skipped::default(),
        told: notes,
        labels_assumed,
    })
}

/// What the columns of a list are.
fn given_of(path: &Path, list: &List, known: &KnownClasses) -> Result<Given> {
    let columns = list.labels(0).len();
    let rows = || list.rows.iter().map(|row| &row.labels);
    let uniform = rows().all(|row| row.len() == columns);
    let all = |what: &dyn Fn(&str) -> bool| rows().flatten().all(|text| what(text));
    let number = |text: &str| text.parse::<f64>().is_ok();
    let cell = |i: usize, k: usize| list.labels(i).get(k).map_or("", String::as_str);
    let joined = |i: usize| list.labels(i).join(",");
    if uniform
        && columns > 1
        && matches!(known.targets, Some(TargetKind::Several) | None)
        && all(&|t| t == "0" || t == "1")
        && list.header.is_some()
    {
        let marks = Array2::from_shape_fn([list.rows.len(), columns], |(i, k)| cell(i, k) == "1");
        return Ok(Given::Marks(marks, list.header.clone()));
    }
    let numbers = uniform
        && all(&number)
        && match known.targets {
            Some(TargetKind::Numbers(wanted)) => columns == wanted || wanted == TargetKind::ANY,
            Some(_) => false,
            // Whole numbers in one column are as likely the names of classes.
            None => all(&|t| t.contains(['.', 'e', 'E', 'n', 'N'])),
        };
    let mut faults = Faults::new();
    let line = |i: usize| list.line(i);
    if numbers {
        let values = Array2::from_shape_fn([list.rows.len(), columns], |(i, k)| cell(i, k).parse::<f32>().unwrap_or(f32::NAN));
        for (i, row) in values.outer_iter().enumerate() {
            if row.iter().any(|v| !v.is_finite()) {
                faults.add("lines have values that are no numbers", format!("line {}: {}", line(i), joined(i)));
            }
        }
        faults.check(path)?;
        return Ok(Given::Numbers(values));
    }
    if let Some(TargetKind::Numbers(wanted)) = known.targets.filter(|_| columns > 1 || !uniform) {
        let wanted = if wanted == TargetKind::ANY { columns } else { wanted };
        let wrong = rows().position(|row| row.len() != wanted || !row.iter().all(|t| number(t)));
        let shown = wrong.map_or(String::new(), |i| format!(" (line {}: {})", line(i), joined(i)));
        return Err(Error::data(format!(
            "the network gives {wanted} numbers for each image, and not all lines of {} have as many{shown}",
            path.display()
        )));
    }
    let several = matches!(known.targets, Some(TargetKind::Several)) || (known.targets.is_none() && rows().any(|row| row.len() > 1));
    let mut names = vec![];
    for (i, row) in rows().enumerate() {
        let mut given: Vec<String> = row.iter().filter(|t| !t.is_empty()).cloned().collect();
        if given.is_empty() && !several {
            faults.add("lines have an empty label", format!("line {}", line(i)));
        }
        let before = given.len();
        given.sort();
        given.dedup();
        if given.len() != before {
            faults.add("lines have one label twice", format!("line {}: {}", line(i), row.join(",")));
        }
        names.push(given);
    }
    faults.check(path)?;
    Ok(Given::Names(names))
}

fn from_arrays(path: &Path, file: &mut ArrayFile, part: Option<Part>, known: &KnownClasses) -> Result<ImageSet> {
    let ArraySet { store, given, mut notes } = array_set::read(path, file, part, known.targets)?;
    if let Some(part) = part {
        notes.insert(0, format!("{} is divided: its {part} images are taken", path.display()));
    }
    let (classes, targets, assumed) = given.understood(Place::file(path), known, &|i| format!("image {i}"))?;
    let labels_assumed = assumed.is_some();
    notes.extend(assumed);
    Ok(ImageSet {
        root: path.to_path_buf(),
        classes,
        places: (0..store.len() as u32).collect(),
        targets,
        store: Arc::new(store),
        skipped: Skipped::default(),
        told: notes,
        labels_assumed,
    })
}
