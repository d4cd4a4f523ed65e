//! What a data set holds, before anything is trained on it.

use super::animated;
use super::check::read_all;
use super::decode::short;
use super::identical;
use super::image_set::ImageSet;
use super::labels::KnownClasses;
use super::listing::few;
use super::parts::Part;
use super::targets::Targets;
use crate::error::{Error, Result};
use crate::field::Field;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Longer than so many times its width, or the reverse, an image loses much in a square crop.
const OBLONG: f64 = 3.0;
/// Classes with fewer images say little.
const FEW: usize = 5;
/// So many times more images than the smallest class is out of balance.
const IMBALANCE: f64 = 10.0;

/// Least, middle and most of some numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The least.
    pub least: u32,
    /// The one in the middle; of an even number of them the upper one.
    pub median: u32,
    /// The most.
    pub most: u32,
}

impl Range {
    fn of(mut values: Vec<u32>) -> Option<Range> {
        values.sort_unstable();
        Some(Range { least: *values.first()?, median: *values.get(values.len() / 2)?, most: *values.last()? })
    }
}

/// One part of the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartSurvey {
    /// What it is for.
    pub part: String,
    /// Where it is.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// Images, those that cannot be read included.
    pub images: usize,
    /// Bytes of the files; 0 for arrays.
    pub bytes: u64,
    /// Images by label.
    pub counts: Vec<usize>,
    /// Images by format, as the content says.
    pub formats: BTreeMap<String, usize>,
    /// Columns of the images that can be read.
    pub width: Option<Range>,
    /// Rows of the images that can be read.
    pub height: Option<Range>,
    /// Images that are more than three times as long as wide, or as wide as long.
    pub oblong: Vec<String>,
    /// Why images cannot be read, a text for each.
    pub unreadable: Vec<String>,
    /// Columns of numbers, where images have numbers rather than classes.
    pub numbers: Option<usize>,
    /// Whether images may have several classes.
    pub several: bool,
}

/// Images with the same content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// The images; each is named with its class.
    pub images: Vec<String>,
    /// Whether they are in several parts, so that results say too much.
    pub across_parts: bool,
    /// Whether they have several classes, so that one of them is wrong.
    pub across_classes: bool,
}

/// What a data set holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// What was looked at.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// Class names by label.
    pub classes: Vec<String>,
    /// Its parts: training, and where there are such validation and test.
    pub parts: Vec<PartSurvey>,
    /// Groups of images with the same content.
    pub copies: Vec<Copies>,
    /// What was skipped or would be assumed.
    pub notes: Vec<String>,
    /// What is likely to be wrong.
    pub warnings: Vec<String>,
    /// Why training on it would be refused; empty where it would not.
    pub refusals: Vec<String>,
}

/// Looks at everything in `path`, with `threads` threads, 0 for one per core; `known` is what is known of the network. `done` hears of how many
/// images it has seen. Fails where training would be refused before an image is read, and when `stop` is set.
pub fn survey(path: &Path, known: &KnownClasses, threads: usize, stop: &AtomicBool, done: &mut dyn FnMut(usize, usize)) -> Result<Survey> {
    let training = ImageSet::open_for(path, known)?;
    let mut sets = vec![(Part::Training, training.clone())];
    for part in [Part::Validation, Part::Test] {
        sets.extend(training.other_part(path, part)?.map(|set| (part, set)));
    }
    let mut survey = Survey {
        path: path.to_path_buf(),
        classes: training.classes().to_vec(),
        parts: vec![],
        copies: vec![],
        notes: sets.iter().flat_map(|(_, set)| set.notes().into_iter().chain(animated::note(set))).collect(),
        warnings: vec![],
        refusals: vec![],
    };
    for (part, set) in &sets {
        survey.parts.push(look(*part, set, threads, stop, done)?);
    }
    survey.copies = copies(&sets);
    survey.judge();
    Ok(survey)
}

fn look(part: Part, set: &ImageSet, threads: usize, stop: &AtomicBool, done: &mut dyn FnMut(usize, usize)) -> Result<PartSurvey> {
    let mut found = PartSurvey {
        part: part.to_string(),
        path: set.root().to_path_buf(),
        images: set.len(),
        bytes: 0,
        counts: set.class_counts(),
        formats: BTreeMap::new(),
        width: None,
        height: None,
        oblong: vec![],
        unreadable: vec![],
        numbers: if let Targets::Numbers(numbers) = set.targets() { Some(numbers.ncols()) } else { None },
        several: matches!(set.targets(), Targets::Several(_)),
    };
    let (mut widths, mut heights) = (vec![], vec![]);
    read_all(set, threads, stop, done, |index, result| {
        let (format, bytes) = kind_of(set, index);
        let count = found.formats.entry(format).or_insert(0);
        *count = count.saturating_add(1);
        found.bytes = found.bytes.saturating_add(bytes);
        match result {
            Err(error) => found.unreadable.push(error.to_string()),
            Ok((width, height)) => {
                widths.push(width);
                heights.push(height);
                if f64::from(width.max(height)) > OBLONG * f64::from(width.min(height)) {
                    found.oblong.push(format!("{} ({width}×{height})", set.name(index)));
                }
            }
        }
        Ok(())
    })?;
    (found.width, found.height) = (Range::of(widths), Range::of(heights));
    Ok(found)
}

/// The format as the content says, and the size of the file.
fn kind_of(set: &ImageSet, index: usize) -> (String, u64) {
    let Some(path) = set.path(index) else { return ("array".into(), 0) };
    let start = || {
        use std::io::Read;
        let file = std::fs::File::open(&path).ok()?;
        let (bytes, mut start) = (file.metadata().ok()?.len(), vec![]);
        file.take(64).read_to_end(&mut start).ok()?;
        let format = image::guess_format(&start).ok().and_then(|f| f.extensions_str().first().copied());
        Some((format.unwrap_or("unknown").to_string(), bytes))
    };
    start().unwrap_or(("unknown".into(), 0))
}

fn copies(sets: &[(Part, ImageSet)]) -> Vec<Copies> {
    let only: Vec<&ImageSet> = sets.iter().map(|(_, set)| set).collect();
    let of = |group: Vec<(usize, usize)>| {
        let differ = |key: &dyn Fn(&(usize, usize)) -> Option<usize>| group.iter().zip(group.iter().skip(1)).any(|(a, b)| key(a) != key(b));
        let label = |&(s, i): &(usize, usize)| only.get(s).and_then(|set| set.label(i));
        let named = |at: &(usize, usize)| {
            let name = only.get(at.0).map_or(String::new(), |set| set.name(at.1));
            match label(at).and_then(|label| only.first()?.classes().get(label)) {
                Some(class) => format!("{name} ({class})"),
                None => name,
            }
        };
        Copies { images: group.iter().map(named).collect(), across_parts: differ(&|at| Some(at.0)), across_classes: differ(&label) }
    };
    identical::groups(&only).into_iter().map(of).collect()
}

impl Survey {
    /// Says what is likely to be wrong, and what would be refused.
    fn judge(&mut self) {
        let groups = |what: &dyn Fn(&&Copies) -> bool| -> Vec<String> {
            self.copies.iter().filter(what).map(|c| c.images.iter().take(2).cloned().collect::<Vec<_>>().join(" = ")).collect()
        };
        let (conflicts, leaks) = (groups(&|c| c.across_classes), groups(&|c| c.across_parts));
        let mut warnings = vec![];
        if !conflicts.is_empty() {
            let are = if conflicts.len() == 1 { "image is" } else { "images are" };
            warnings.push(format!("{} {are} there with several classes, one of which is wrong: {}", conflicts.len(), few(&conflicts)));
        }
        if !leaks.is_empty() {
            let are = if leaks.len() == 1 { "image is" } else { "images are" };
            warnings.push(format!("{} {are} in several parts, so that results say too much: {}", leaks.len(), few(&leaks)));
        }
        if let [only] = &self.classes[..]
            && self.parts.iter().all(|part| !part.several)
        {
            warnings.push(format!("there is one class only, `{only}`: nothing to tell apart"));
        }
        if let Some(training) = self.parts.first() {
            let named = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
                let pairs = self.classes.iter().zip(&training.counts).filter(|(_, n)| keep(**n));
                pairs.map(|(name, n)| format!("`{name}` {n}")).collect()
            };
            let small = named(&|n| (1..FEW).contains(&n));
            if !small.is_empty() {
                warnings.push(format!("{} classes have fewer than {FEW} training images: {}", small.len(), few(&small)));
            }
            let (least, most) = (training.counts.iter().filter(|n| **n > 0).min(), training.counts.iter().max());
            if let Some((least, most)) = least.zip(most).filter(|(least, most)| **most as f64 > IMBALANCE * **least as f64) {
                warnings.push(format!("the largest class has {most} training images and the smallest {least}: out of balance"));
            }
        }
        for part in &self.parts {
            if !part.oblong.is_empty() {
                let (n, all) = (part.oblong.len(), few(&part.oblong));
                warnings.push(format!("{n} {} images are more than {OBLONG} times as long as wide, or as wide as long: {all}", part.part));
            }
            if !part.unreadable.is_empty() {
                self.refusals.push(format!(
                    "{} of the {} {} images cannot be read: {}",
                    part.unreadable.len(),
                    part.images,
                    part.part,
                    few(&part.unreadable.iter().map(|error| short(error).to_string()).collect::<Vec<_>>())
                ));
            }
        }
        self.warnings = warnings;
    }

    /// Fails where training on it would be refused.
    pub fn check(&self) -> Result<()> {
        if self.refusals.is_empty() {
            return Ok(());
        }
        Err(Error::data(format!(
            "training would be refused: {}. Convert them to JPEG, PNG, WebP or BMP, remove them, or leave them out with {} skip",
            self.refusals.join("; "),
            Field::BAD_IMAGES
        )))
    }
}
