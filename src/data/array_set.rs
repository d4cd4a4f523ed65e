//! Images and labels in arrays.

use super::array_file::{Array, ArrayFile, Kind, cannot_read};
use super::given::Given;
use super::listing::few;
use super::parts::Part;
use super::pixels::{PixelArray, Store};
use super::targets::TargetKind;
use crate::bundle::MAX_SIDE;
use crate::error::{Error, Result};
use ndarray::{Array2, Array4, Axis};
use std::path::Path;

/// What an array of images may be called, in lower case.
const IMAGES: [&str; 11] = ["images", "image", "x", "data", "inputs", "input", "pixels", "imgs", "img", "features", "arr_0"];
/// What an array of labels may be called.
const LABELS: [&str; 8] = ["labels", "label", "y", "targets", "target", "classes", "class", "arr_1"];

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

/// Reads the images and labels of a part, or of a file that is not divided. `kind` is what the loss takes.
pub(super) fn read(path: &Path, file: &mut ArrayFile, part: Option<Part>, kind: Option<TargetKind>) -> Result<ArraySet> {
    let found = pair(path, file.names(), part)?;
    let (Some(images), Some(labels)) = (&found.images, &found.labels) else {
        let all = few(file.names());
        let what = if found.images.is_none() { "no array of images" } else { "no array of labels" };
        return Err(cannot_read(
            path,
            &format!("it has {what}; its arrays are: {all}. Call them `images` and `labels`, or `x_train`, `y_train`, `x_test`, `y_test`"),
        ));
    };
    let (store, notes) = images_of(path, images, file.read(images)?)?;
    let labels_array = file.read(labels)?;
    let given = labels_of(path, labels, &labels_array, store.len(), kind)?;
    Ok(ArraySet { store, given, notes })
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
