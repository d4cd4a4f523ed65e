//! Which label each class folder has.

use super::listing::{few, quoted};
use super::targets::TargetKind;
use crate::error::{Error, Result};
use crate::field::Field;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// No network comes near this many classes.
const MOST: usize = 1_000_000;

/// What is known of the classes of the network that images are for.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownClasses<'a> {
    /// Names by label; empty where nothing says them.
    pub names: &'a [String],
    /// How many there are.
    pub count: Option<usize>,
    /// Whether the network has learnt them already, so that their order is fixed. A new head takes the folders as they come.
    pub learnt: bool,
    /// What the loss takes; `None` where whatever there is will do.
    pub targets: Option<TargetKind>,
    /// Whether the loss takes several classes for an image, where `targets` leaves that open.
    pub several: bool,
}

/// The label of each folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    /// Class names by label.
    pub classes: Vec<String>,
    /// By folder.
    pub labels: Vec<usize>,
    /// Where nothing but an assumption says so: what was assumed.
    pub assumed: Option<String>,
}

/// Where names of classes come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// A folder, or a list or arrays.
    pub path: &'a Path,
    /// What they are called there: `folders`, or `labels`.
    pub noun: &'static str,
}

impl<'a> Place<'a> {
    /// Folders in a folder.
    pub fn folder(path: &'a Path) -> Place<'a> {
        Place { path, noun: "folders" }
    }

    /// Labels in a file.
    pub fn file(path: &'a Path) -> Place<'a> {
        Place { path, noun: "labels" }
    }

    fn display(&self) -> std::path::Display<'a> {
        self.path.display()
    }

    /// `class folders`, `labels`
    fn classes(&self) -> &'static str {
        if self.noun == "folders" { "class folders" } else { self.noun }
    }
}

/// Finds the labels of `folders`, sorted names of the folders (or labels) in `dir`. Fails where they do not fit the network's classes.
pub(super) fn assign(dir: Place, folders: &[String], known: &KnownClasses) -> Result<Labels> {
    if !known.names.is_empty() {
        return by_name(dir, folders, known.names);
    }
    match (numbers(folders), known.learnt) {
        (Some(numbers), true) => by_number(dir, folders, &numbers, known.count),
        (Some(numbers), false) => {
            check_count(dir, folders.len(), known)?;
            let mut order: Vec<(usize, &String)> = numbers.into_iter().zip(folders).collect();
            order.sort_by_key(|(number, _)| *number);
            let classes: Vec<String> = order.into_iter().map(|(_, folder)| folder.clone()).collect();
            let labels = folders.iter().filter_map(|folder| classes.iter().position(|c| c == folder)).collect();
            Ok(Labels { classes, labels, assumed: None })
        }
        (None, learnt) => {
            check_count(dir, folders.len(), known)?;
            let assumed = learnt.then(|| {
                format!(
                    "labels assumed: {}, the {} of {} in sorted order, since nothing names the network's classes ({} does)",
                    mapping(folders.iter().enumerate()),
                    dir.noun,
                    dir.display(),
                    Field::CLASS_NAMES
                )
            });
            Ok(Labels { classes: folders.to_vec(), labels: (0..folders.len()).collect(), assumed })
        }
    }
}

/// What to say where classes are called alike but for case, spaces, hyphens and the like: of one class, somebody's slip makes two.
pub(super) fn alike(dir: Place, classes: &[String]) -> Option<String> {
    let mut by_name: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    classes.iter().for_each(|class| by_name.entry(plain(class.trim())).or_default().push(class));
    let groups: Vec<String> = by_name
        .into_values()
        .filter(|group| group.len() > 1)
        .map(|group| group.iter().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(" and "))
        .collect();
    (!groups.is_empty())
        .then(|| format!("{} has {} that are called alike and taken for classes of their own: {}", dir.display(), dir.noun, few(&groups)))
}

/// `0 cat, 1 dog, …`
fn mapping<'a>(pairs: impl Iterator<Item = (usize, &'a String)>) -> String {
    few(&pairs.map(|(label, name)| format!("{label} {name}")).collect::<Vec<_>>())
}

/// The folders' numbers, where all of them are called by one.
fn numbers(folders: &[String]) -> Option<Vec<usize>> {
    let number = |name: &String| if name.bytes().all(|b| b.is_ascii_digit()) { name.parse().ok() } else { None };
    folders.iter().map(number).collect()
}

/// Without names there must be one folder for each class, for nothing else says which label a folder has.
pub(super) fn check_count(dir: Place, found: usize, known: &KnownClasses) -> Result<()> {
    let Some(classes) = known.count.filter(|&n| n != found) else { return Ok(()) };
    let (head, names) = (Field::CLASSES, Field::CLASS_NAMES);
    let way = if found > classes {
        format!(": labels would lie outside its head. Rewrite the model with {head} {found}, or remove {}", dir.noun)
    } else {
        format!(
            ", and nothing says which of them the {} are. Rewrite the model with {head} {found} for a new head, or name the classes with {names}",
            dir.noun
        )
    };
    Err(Error::data(format!("{} has {found} {}, but the network has {classes} classes{way}", dir.display(), dir.classes())))
}

/// Folders called 0, 1, 2, … for a network that has learnt its labels: the numbers are the labels, whatever their order as text.
fn by_number(dir: Place, folders: &[String], numbers: &[usize], count: Option<usize>) -> Result<Labels> {
    let mut seen: HashMap<usize, &String> = HashMap::new();
    for (name, &number) in folders.iter().zip(numbers) {
        if let Some(other) = seen.insert(number, name) {
            return Err(Error::data(format!(
                "{} has the {} `{other}` and `{name}`, which are one number. Join them",
                dir.display(),
                dir.noun
            )));
        }
    }
    let (least, most) = (numbers.iter().min().copied().unwrap_or(0), numbers.iter().max().copied().unwrap_or(0));
    let count = count.unwrap_or(most.min(MOST).saturating_add(1));
    if most >= count {
        let from_one = if least == 1 && most == count { ", so they seem to be counted from 1" } else { "" };
        return Err(Error::data(format!(
            "{} has {} with the numbers {least} to {most}{from_one}, and the network has {count} classes, whose labels are 0 to {}. Rename \
             the {} to the network's labels, name its classes by label with {}, or rewrite the model with {} {} for a new head",
            dir.display(),
            dir.classes(),
            count.saturating_sub(1),
            dir.noun,
            Field::CLASS_NAMES,
            Field::CLASSES,
            folders.len()
        )));
    }
    let classes = (0..count).map(|label| seen.get(&label).map_or_else(|| label.to_string(), |name| name.to_string()));
    let gaps = match count.saturating_sub(folders.len()) {
        0 => String::new(),
        n => format!(", and {n} of the {count} classes have no {}", dir.noun.trim_end_matches('s')),
    };
    let assumed = format!(
        "labels assumed: the numbers by which the {} of {} are called ({least} to {most}){gaps}, since nothing names the network's classes ({} does)",
        dir.noun,
        dir.display(),
        Field::CLASS_NAMES
    );
    Ok(Labels { classes: classes.collect(), labels: numbers.to_vec(), assumed: Some(assumed) })
}

/// Names as people and file systems vary them: without case, with one sign for spaces, hyphens and what no file name may have.
fn plain(name: &str) -> String {
    name.trim().chars().map(|c| if matches!(c, ' ' | '-' | '/' | '\\' | ':') { '_' } else { c }).collect::<String>().to_lowercase()
}

fn by_name(dir: Place, folders: &[String], names: &[String]) -> Result<Labels> {
    let labels_of = |key: &dyn Fn(&str) -> String| {
        let mut found: HashMap<String, Vec<usize>> = HashMap::new();
        names.iter().enumerate().for_each(|(label, name)| found.entry(key(name)).or_default().push(label));
        found
    };
    let (exact, similar) = (labels_of(&|name| name.to_string()), labels_of(&plain));
    let (mut labels, mut varied, mut unknown) = (vec![], vec![], vec![]);
    for folder in folders {
        let (found, same) = match exact.get(folder) {
            Some(found) => (Some(found), true),
            None => (similar.get(&plain(folder)), false),
        };
        match found.map(Vec::as_slice) {
            Some([label]) => {
                labels.push(*label);
                varied.extend((!same).then(|| format!("`{folder}` is `{}`", names.get(*label).map_or("", String::as_str))));
            }
            Some(several) if !several.is_empty() => {
                let shown = several.iter().map(usize::to_string).collect::<Vec<_>>().join(" and ");
                return Err(Error::data(format!(
                    "the list of classes has `{}` twice, as the labels {shown}, so nothing says which one `{folder}` in {} is. Every label needs a name of its \
                     own: give other names with {}",
                    several.first().and_then(|&label| names.get(label)).map_or("", String::as_str),
                    dir.display(),
                    Field::CLASS_NAMES
                )));
            }
            _ => unknown.push(format!("`{folder}`")),
        }
    }
    let mut given: HashMap<usize, &String> = HashMap::new();
    for (folder, &label) in folders.iter().zip(&labels) {
        if let Some(other) = given.insert(label, folder).filter(|_| unknown.is_empty()) {
            let shown = names.get(label).map_or("", String::as_str);
            return Err(Error::data(format!(
                "{} has the {} `{other}` and `{folder}` for one class, `{shown}`. Join them",
                dir.display(),
                dir.noun
            )));
        }
    }
    if unknown.is_empty() {
        let assumed = (!varied.is_empty()).then(|| format!("labels assumed: {}", few(&varied)));
        return Ok(Labels { classes: names.to_vec(), labels, assumed });
    }
    if let Some(numbers) = numbers(folders).filter(|_| labels.is_empty()) {
        let by_number = by_number(dir, folders, &numbers, Some(names.len()))?;
        let shown = mapping(numbers.iter().filter_map(|&n| Some((n, names.get(n)?))));
        let assumed = format!("labels assumed: the numbers by which the {} of {} are called: {shown}", dir.noun, dir.display());
        return Ok(Labels { classes: names.to_vec(), assumed: Some(assumed), ..by_number });
    }
    Err(Error::data(format!(
        "{} has {} that the model does not know: {}. Its classes are {}. Rename or remove the {}, give other names by label with {}, or \
         make the model's head for these classes",
        dir.display(),
        dir.classes(),
        few(&unknown),
        few(&quoted(names)),
        dir.noun,
        Field::CLASS_NAMES
    )))
}
