//! Images and labels in arrays.

use super::array_file::{Array, ArrayFile, Kind, cannot_read};
use super::given::Given;
use super::listing::few;
use super::parts::Part;
use super::pixels::{PixelArray, Store};
use super::targets::TargetKind;
use crate::bundle::{MAX_SIDE, names_in};
use crate::error::{Error, Result};
use ndarray::{Array2, Array4, Axis};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What an array of images may be called, in lower case.
const IMAGES: [&str; 11] = ["images", "image", "x", "data", "inputs", "input", "pixels", "imgs", "img", "features", "arr_0"];
/// What an array of labels may be called.
const LABELS: [&str; 8] = ["labels", "label", "y", "targets", "target", "classes", "class", "arr_1"];
/// What an array of the classes' names may be called, in lower case.
const NAMES: [&str; 8] = ["class_names", "classnames", "classes", "label_names", "labels_names", "target_names", "names", "categories"];

/// Names of the arrays that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Pair {
    images: Option<String>,
    labels: Option<String>,
}

/// What arrays hold.
pub(super) struct ArraySet {
    pub store: Store,
    pub given: Given,
    pub notes: Vec<String>,
}

/// The parts that a file of arrays has, by names such as `x_train` and `test_labels`; empty where it is not divided.
pub(super) fn parts(path: &Path, names: &[String]) -> Result<Vec<Part>> {
    Ok(Part::ALL.into_iter().filter(|part| pair(path, names, Some(*part)).is_ok_and(|p| p.images.is_some())).collect())
}

/// The pair of arrays for a part, or that of a file that is not divided.
fn pair(path: &Path, names: &[String], part: Option<Part>) -> Result<Pair> {
    let mut pair = Pair::default();
    for name in names {
        let lower = name.to_lowercase();
        let tokens: Vec<&str> = lower.split(['_', '-', '.', '/']).filter(|t| !t.is_empty()).collect();
        let found = tokens.iter().find_map(|token| Part::called(token));
        let rest: Vec<&str> = tokens.iter().copied().filter(|token| Part::called(token).is_none()).collect();
        let rest = rest.join("_");
        let slot = match () {
            () if found != part => continue,
            () if IMAGES.contains(&rest.as_str()) => &mut pair.images,
            () if LABELS.contains(&rest.as_str()) => &mut pair.labels,
            () => continue,
        };
        if let Some(other) = slot.replace(name.clone()) {
            return Err(cannot_read(path, &format!("its arrays `{other}` and `{name}` could both be meant. Remove one")));
        }
    }
    Ok(pair)
}

/// What may be the names of the classes by label.
struct Said {
    place: String,
    /// The array that says it; none where the metadata does.
    array: Option<String>,
    names: Vec<String>,
}

impl Said {
    /// Whether it may as well say something of each of `n` images.
    fn of_each(&self, n: usize) -> bool {
        self.array.is_some() && self.names.len() == n
    }

    fn has_equal(&self) -> bool {
        self.names.iter().collect::<HashSet<_>>().len() < self.names.len()
    }
}

/// All that is called as names of classes are. Notes tell of what is none or cannot be read, which is given as well.
fn said(path: &Path, file: &mut ArrayFile, notes: &mut Vec<String>) -> (Vec<Said>, Vec<String>) {
    let called = |name: &String| NAMES.contains(&name.to_lowercase().replace(['-', '.', '/'], "_").as_str());
    let (mut found, mut unread) = (vec![], vec![]);
    for name in file.names().to_vec().into_iter().filter(called) {
        match file.texts(&name) {
            Ok(Some(names)) => found.push(Said { place: format!("array `{name}`"), array: Some(name), names }),
            // Numbers, which may be labels.
            Ok(None) => {}
            Err(why) => {
                notes.push(format!("the names of classes are not read, and numbers stand for them: {why}"));
                unread.push(name);
            }
        }
    }
    for (key, text) in file.metadata() {
        match names_in(key, text) {
            (Some(names), _) if !names.is_empty() => found.push(Said { place: format!("metadata `{key}`"), array: None, names }),
            (_, true) => notes.push(format!("the metadata `{key}` of {} is no list of names by label, and is not read", path.display())),
            _ => {}
        }
    }
    (found, unread)
}

/// The names that all of these say.
fn agreed(path: &Path, said: Vec<Said>) -> Result<Option<Vec<String>>> {
    let mut said = said.into_iter();
    let Some(Said { place, names, .. }) = said.next() else { return Ok(None) };
    if let Some(other) = said.find(|other| other.names != names) {
        return Err(cannot_read(path, &format!("its {place} and its {} name different classes. Remove one", other.place)));
    }
    let mut seen = HashSet::new();
    if let Some((label, name)) = names.iter().enumerate().find(|(_, name)| !seen.insert(*name)) {
        return Err(cannot_read(path, &format!("its {place} has `{name}` twice, the second time as the label {label}")));
    }
    if let Some(label) = names.iter().position(|name| name.trim().is_empty()) {
        return Err(cannot_read(path, &format!("its {place} has no name for the label {label}")));
    }
    Ok(Some(names))
}

/// How many classes labels need; `None` where they are no classes.
fn width(given: &Given) -> Option<usize> {
    Some(match given {
        Given::Names(labels) if numbered(given) => {
            labels.iter().flatten().filter_map(|label| label.parse::<usize>().ok()).max()?.saturating_add(1)
        }
        Given::Names(labels) => labels.iter().flatten().collect::<HashSet<_>>().len(),
        Given::Labels(_, names) => names.len(),
        Given::Marks(marks, _) => marks.ncols(),
        Given::Numbers(..) => return None,
    })
}

/// Reads the images and labels of a part, or of a file that is not divided. `kind` is what the loss takes.
pub(super) fn read(path: &Path, file: &mut ArrayFile, part: Option<Part>, kind: Option<TargetKind>) -> Result<ArraySet> {
    let mut told = vec![];
    let (mut said, unread) = said(path, file, &mut told);
    let all = file.names().to_vec();
    let without = |said: &[Said], unread: &[String]| -> Vec<String> {
        all.iter().filter(|&name| !unread.contains(name) && said.iter().all(|s| s.array.as_ref() != Some(name))).cloned().collect()
    };
    let lacks = |what: &str| {
        let why = format!(
            "it has no array of {what}; its arrays are: {}. Call them `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`",
            few(&all)
        );
        cannot_read(path, &why)
    };
    let images = pair(path, &without(&said, &unread), part)?.images.ok_or_else(|| lacks("images"))?;
    let (store, mut notes) = images_of(path, &images, file.read(&images)?)?;
    let n = store.len();
    let for_each = |said: &Said| format!("its {} has a text for each image, and is not taken for the names of classes", said.place);
    let mut others: Vec<Said> = said.extract_if(.., |said| said.of_each(n) && said.has_equal()).collect();
    let mut found = pair(path, &without(&said, &unread), part)?;
    if found.labels.is_none() {
        others.extend(said.extract_if(.., |said| said.of_each(n)));
        found = pair(path, &without(&said, &[]), part)?;
    }
    let labels = found.labels.ok_or_else(|| lacks("labels"))?;
    let given = match file.texts(&labels)? {
        Some(texts) if texts.len() != n => {
            return Err(cannot_read(path, &format!("its array `{labels}` has {} labels for {n} images", texts.len())));
        }
        Some(texts) => Given::Names(texts.into_iter().map(|text| vec![text]).collect()),
        None => labels_of(path, &labels, &file.read(&labels)?, n, kind)?,
    };
    match width(&given) {
        Some(width) => others.extend(said.extract_if(.., |said| said.of_each(n) && n > width)),
        None => said.clear(),
    }
    told.extend(others.iter().filter(|said| said.array.as_ref() != Some(&labels)).map(for_each));
    let explained = !told.is_empty();
    notes.extend(told);
    let given = match (given, agreed(path, said)?) {
        (Given::Names(labels), Some(classes)) => named(path, labels, classes)?,
        (Given::Marks(marks, None), Some(classes)) if classes.len() == marks.ncols() => Given::Marks(marks, Some(classes)),
        (Given::Marks(marks, None), Some(classes)) => {
            let why = format!("it names {} classes, and its array `{labels}` marks {}", classes.len(), marks.ncols());
            return Err(cannot_read(path, &why));
        }
        (given @ Given::Names(_), None) if numbered(&given) && !explained => {
            notes.push(format!(
                "nothing in {} says what its classes are called, so that they have their numbers for names (an array of texts or an entry of the metadata called \
                 `class_names` says it)",
                path.display()
            ));
            given
        }
        (given, _) => given,
    };
    Ok(ArraySet { store, given, notes })
}

/// Whether classes are called by numbers alone.
fn numbered(given: &Given) -> bool {
    matches!(given, Given::Names(labels) if labels.iter().flatten().all(|label| label.parse::<u64>().is_ok()))
}

/// Labels with what their numbers are called. Labels that are names already have to be among them.
fn named(path: &Path, labels: Vec<Vec<String>>, classes: Vec<String>) -> Result<Given> {
    let by_name: HashMap<&str, usize> = classes.iter().enumerate().map(|(label, name)| (name.as_str(), label)).collect();
    let numbers = labels.iter().flatten().all(|label| label.parse::<usize>().is_ok());
    let label_of = |label: &String| match numbers {
        true => label.parse().ok().filter(|&label: &usize| label < classes.len()),
        false => by_name.get(label.as_str()).copied(),
    };
    let found: Vec<Option<usize>> = labels.iter().map(|row| row.first().and_then(label_of)).collect();
    let wrong: Vec<String> = found
        .iter()
        .zip(&labels)
        .enumerate()
        .filter(|(_, (label, _))| label.is_none())
        .map(|(i, (_, row))| format!("image {i}: {}", row.join(",")))
        .collect();
    if !wrong.is_empty() {
        let (names, from) = (few(&classes), if numbers { ", numbered from 0 on" } else { "" });
        let why = format!(
            "{} of its labels are none of the {} classes that it names, {names}{from}: {}",
            wrong.len(),
            classes.len(),
            few(&wrong)
        );
        return Err(cannot_read(path, &why));
    }
    Ok(Given::Labels(found.into_iter().flatten().collect(), classes))
}

fn images_of(path: &Path, name: &str, array: Array) -> Result<(Store, Vec<String>)> {
    let shown = array.shown();
    let fail = |why: &str| cannot_read(path, &format!("its array `{name}`, {shown}, {why}"));
    let shape = match array.shape[..] {
        [n, h, w] => [n, h, w, 1],
        [a, b, c, d] => [a, b, c, d],
        _ => return Err(fail("has not the rank of images: [N, H, W, C], [N, C, H, W], or [N, H, W] for grey")),
    };
    // Four channels are rarer than four columns.
    let (four, rank) = (!matches!((shape[1], shape[3]), (1 | 3, _) | (_, 1 | 3)), array.shape.len());
    let colours = |n: usize| matches!(n, 1 | 3) || (four && n == 4);
    let (last, first) = (colours(shape[3]), colours(shape[1]) && rank == 4);
    let mut notes = vec![];
    let planes = match (last, first) {
        (true, false) => false,
        (false, true) => true,
        (true, true) => {
            notes.push(format!("the array `{name}` of {}, {shown}: channels assumed to be last, [N, H, W, C]", path.display()));
            false
        }
        (false, false) => return Err(fail("has no axis of 1, 3 or 4 channels behind the first or at the end")),
    };
    let [count, channels, height, width] = if planes { shape } else { [shape[0], shape[3], shape[1], shape[2]] };
    if let Some(why) = misfit(count, height, width) {
        return Err(fail(why));
    }
    if array.is_bytes() {
        return Ok((Store::Pixels(PixelArray { bytes: array.into_bytes(), count, height, width, channels, planes }), notes));
    }
    if array.kind != Kind::Float {
        return Err(fail(
            "holds neither bytes nor floats. Save pixels from 0 to 255 as uint8: images.astype('uint8'), and those of 16 bits with (images >> 8).astype('uint8')",
        ));
    }
    let values = array.to_f32();
    let size = channels.saturating_mul(height).saturating_mul(width).max(1);
    let wrong: Vec<String> = values
        .chunks_exact(size)
        .enumerate()
        .filter(|(_, image)| image.iter().any(|v| !v.is_finite()))
        .map(|(i, _)| format!("image {i}"))
        .collect();
    if !wrong.is_empty() {
        return Err(fail(&format!("has values that are no numbers in {} of its {count} images: {}", wrong.len(), few(&wrong))));
    }
    let (least, most) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
    notes.push(format!(
        "the floats in `{name}` of {} ({least} to {most}) enter the network as they are: not resized, without mean and std. If they are pixels, save \
         them as uint8 from 0 to 255",
        path.display()
    ));
    let stored = Array4::from_shape_vec(shape, values).map_err(|e| fail(&e.to_string()))?;
    let values = if planes { stored } else { stored.permuted_axes([0, 3, 1, 2]) };
    Ok((Store::Values(values), notes))
}

/// Why an array of that size cannot be one of images, where it cannot.
pub(super) fn misfit(count: usize, height: usize, width: usize) -> Option<&'static str> {
    if count == 0 || height == 0 || width == 0 {
        return Some("is empty");
    }
    (u32::try_from(count).is_err() || height.max(width) > MAX_SIDE as usize).then_some("is too large")
}

fn labels_of(path: &Path, name: &str, array: &Array, images: usize, kind: Option<TargetKind>) -> Result<Given> {
    let shown = array.shown();
    let fail = |why: String| cannot_read(path, &format!("its array `{name}`, {shown}, {why}"));
    let (rows, columns) = match array.shape[..] {
        [rows] => (rows, 1),
        [rows, k] if k > 0 => (rows, k),
        _ => return Err(fail("has not the rank of labels: [N], or [N, K]".into())),
    };
    if rows != images {
        return Err(fail(format!("has {rows} labels for {images} images")));
    }
    let numbers = Array2::from_shape_vec([rows, columns], array.to_f64()).map_err(|e| fail(e.to_string()))?;
    let listed = |wrong: &dyn Fn(f64) -> bool| -> Vec<String> {
        let rows = numbers.outer_iter().enumerate().filter(|(_, row)| row.iter().any(|&v| wrong(v)));
        rows.map(|(i, row)| format!("image {i}: {}", row.iter().find(|&&v| wrong(v)).unwrap_or(&0.0))).collect()
    };
    let no_numbers = listed(&|v| !(v as f32).is_finite());
    if !no_numbers.is_empty() {
        return Err(fail(format!("has {} labels that are no numbers: {}", no_numbers.len(), few(&no_numbers))));
    }
    let marks = numbers.iter().all(|&v| v == 0.0 || v == 1.0);
    let regression = matches!(kind, Some(TargetKind::Numbers(k)) if k == columns || k == TargetKind::ANY)
        || (array.kind == Kind::Float && !(columns > 1 && marks));
    if regression && !matches!(kind, Some(TargetKind::Class | TargetKind::Several)) {
        return Ok(Given::Numbers(numbers.mapv(|v| v as f32)));
    }
    if columns > 1 {
        if !marks {
            return Err(fail("has several columns that are not all 0 or 1. Mark each class by 1, or give one column of classes".into()));
        }
        return Ok(Given::Marks(numbers.mapv(|v| v == 1.0), None));
    }
    if array.kind == Kind::Float {
        return Err(fail("holds floats, and classes are whole numbers: labels.astype('int64')".into()));
    }
    let negative = listed(&|v| v < 0.0);
    if !negative.is_empty() {
        return Err(fail(format!("has {} negative labels: {}", negative.len(), few(&negative))));
    }
    Ok(Given::Names(numbers.index_axis(Axis(1), 0).iter().map(|v| vec![format!("{v}")]).collect()))
}

/// Fails, where ready inputs have another shape than the network's.
pub(super) fn check_shape(path: &Path, store: &Store, [channels, height, width]: [usize; 3]) -> Result<()> {
    let Store::Values(values) = store else { return Ok(()) };
    let (_, c, h, w) = values.dim();
    if [c, h, w] == [channels, height, width] {
        return Ok(());
    }
    Err(Error::data(format!(
        "{} holds floats of {c} channels and {h}×{w}, which enter the network as they are, and it takes {channels} channels and {height}×{width}. Save \
         pixels as uint8 to have them resized, or prepare inputs of the network's size",
        path.display()
    )))
}
