//! From labels as a file gives them to what a network is to say.

use super::labels::{self, KnownClasses, Labels, Place};
use super::listing::few;
use super::targets::{TargetKind, Targets};
use crate::error::{Error, Result};
use crate::field::Field;
use ndarray::Array2;
use std::collections::{BTreeSet, HashMap};

/// What a list or an array says of each image.
pub(super) enum Given {
    /// Names of classes.
    Names(Vec<Vec<String>>),
    /// A label for each image, and what all labels are called.
    Labels(Vec<usize>, Vec<String>),
    /// Whether it is of each class, images × classes, and what the classes are called where that is said.
    Marks(Array2<bool>, Option<Vec<String>>),
    /// Numbers, images × numbers.
    Numbers(Array2<f32>),
}

/// Classes, what is known of each image, and what had to be assumed.
pub(super) type Understood = (Vec<String>, Targets, Option<String>);

impl Given {
    /// As the loss takes it. `at` names an image in messages.
    pub fn understood(self, place: Place, known: &KnownClasses, at: &dyn Fn(usize) -> String) -> Result<Understood> {
        match (self, known.targets) {
            (Given::Names(names), kind) => by_name(place, names, kind, known, at),
            (Given::Labels(labels, names), kind) => by_label(place, &labels, names, kind, known),
            (Given::Marks(marks, names), kind) => by_mark(place, &marks, names, kind, known),
            (Given::Numbers(numbers), Some(TargetKind::Numbers(_)) | None) => Ok((vec![], Targets::Numbers(numbers), None)),
            (Given::Numbers(numbers), Some(_)) => Err(Error::data(format!(
                "{} has {} for each image, and the loss takes classes. Give whole numbers or names, or make the bundle with {} mse",
                place.path.display(),
                if numbers.ncols() == 1 { "a number".into() } else { format!("{} numbers", numbers.ncols()) },
                Field::LOSS
            ))),
        }
    }
}

fn by_name(
    place: Place,
    names: Vec<Vec<String>>,
    kind: Option<TargetKind>,
    known: &KnownClasses,
    at: &dyn Fn(usize) -> String,
) -> Result<Understood> {
    let single = names.iter().all(|n| n.len() == 1);
    if !single && matches!(kind, Some(TargetKind::Class | TargetKind::Numbers(_))) {
        let wrong: Vec<String> = names.iter().enumerate().filter(|(_, n)| n.len() != 1).map(|(i, _)| at(i)).collect();
        // Numbers may be what classes are called, or what is to be learnt.
        let numbers = names.iter().flatten().all(|name| name.parse::<f64>().is_ok_and(f64::is_finite));
        let towards = if numbers { format!(" or, towards these numbers, {} mse", Field::LOSS) } else { String::new() };
        return Err(Error::data(format!(
            "{} of {} rows of {} have several labels or none, and the loss takes one for each image: {}. Leave one, or make the bundle with {} bce{towards}",
            wrong.len(),
            names.len(),
            place.path.display(),
            few(&wrong),
            Field::LOSS
        )));
    }
    let all: BTreeSet<&String> = names.iter().flatten().collect();
    let sorted: Vec<String> = all.into_iter().cloned().collect();
    if sorted.is_empty() {
        return Err(Error::data(format!("{} has no label at all", place.path.display())));
    }
    let Labels { classes, labels, assumed } = labels::assign(place, &sorted, known)?;
    let number: HashMap<&String, u32> = sorted.iter().zip(labels.iter().map(|&l| l as u32)).collect();
    let of = |name: &String| number.get(name).copied().unwrap_or(0);
    let targets = if single {
        Targets::Classes(names.iter().flatten().map(of).collect())
    } else {
        let row = |names: &Vec<String>| names.iter().map(of).collect::<BTreeSet<u32>>().into_iter().collect();
        Targets::Several(names.iter().map(row).collect())
    };
    Ok((classes, targets, assumed))
}

/// Where the network knows its classes, those that there are images of are found among them by name; else they are its classes as they are numbered.
fn by_label(place: Place, labels: &[usize], names: Vec<String>, kind: Option<TargetKind>, known: &KnownClasses) -> Result<Understood> {
    let (classes, places, assumed): (Vec<String>, HashMap<usize, u32>, _) = match known.names.is_empty() {
        true => {
            labels::check_count(place, names.len(), known)?;
            let places = (0..names.len()).map(|label| (label, label as u32)).collect();
            (names, places, None)
        }
        false => {
            let present: BTreeSet<usize> = labels.iter().copied().collect();
            // Those who trained on the file before it said names, or before they were read, know its classes by their numbers.
            let numbers =
                known.names.iter().all(|name| name.parse::<usize>().is_ok()) && !names.iter().any(|name| known.names.contains(name));
            let called = |&label: &usize| if numbers { Some(label.to_string()) } else { names.get(label).cloned() };
            let called: Vec<String> = present.iter().filter_map(called).collect();
            let Labels { classes, labels, assumed } = labels::assign(place, &called, known)?;
            (classes, present.into_iter().zip(labels.into_iter().map(|l| l as u32)).collect(), assumed)
        }
    };
    let targets = labels.iter().map(|label| places.get(label).copied().unwrap_or(0));
    let targets = match kind {
        Some(TargetKind::Several) => Targets::Several(targets.map(|label| [label].into()).collect()),
        _ => Targets::Classes(targets.collect()),
    };
    Ok((classes, targets, assumed))
}

fn by_mark(
    place: Place,
    marks: &Array2<bool>,
    names: Option<Vec<String>>,
    kind: Option<TargetKind>,
    known: &KnownClasses,
) -> Result<Understood> {
    let (shown, columns) = (place.path.display(), marks.ncols());
    if let Some(classes) = known.count.filter(|&n| n != columns) {
        return Err(Error::data(format!(
            "{shown} marks {columns} classes for each image, and the network has {classes}. Rewrite the model with {} {columns}",
            Field::CLASSES
        )));
    }
    // With names on both sides their order may differ.
    let (classes, places): (Vec<String>, Vec<u32>) = match names {
        Some(names) => {
            let Labels { classes, labels, .. } = labels::assign(place, &names, known)?;
            (classes, labels.into_iter().map(|l| l as u32).collect())
        }
        None if known.names.len() == columns => (known.names.to_vec(), (0..columns as u32).collect()),
        None => ((0..columns).map(|k| k.to_string()).collect(), (0..columns as u32).collect()),
    };
    let rows =
        || marks.rows().into_iter().map(|row| row.iter().zip(&places).filter(|(on, _)| **on).map(|(_, &k)| k).collect::<BTreeSet<u32>>());
    let one_each = rows().all(|row| row.len() == 1);
    match kind {
        Some(TargetKind::Several) => Ok((classes, Targets::Several(rows().map(|row| row.into_iter().collect()).collect()), None)),
        _ if one_each => {
            let note = format!("{shown} marks one of {columns} columns for each image: that one is its class");
            Ok((classes, Targets::Classes(rows().flatten().collect()), Some(note)))
        }
        None => Ok((classes, Targets::Several(rows().map(|row| row.into_iter().collect()).collect()), None)),
        Some(_) => Err(Error::data(format!(
            "{shown} marks several classes of an image, or none, and the loss takes one for each. Make the bundle with {} bce",
            Field::LOSS
        ))),
    }
}
