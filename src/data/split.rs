//! Splitting images into some for training and some for validation.

use super::identical;
use super::image_set::ImageSet;
use super::listing::{few, quoted};
use super::random::{Purpose, Random};
use super::targets::Targets;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The two parts, which have no image in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// What is trained on.
    pub training: ImageSet,
    /// What is held out.
    pub validation: ImageSet,
    /// What the user should hear.
    pub notes: Vec<String>,
}

/// Splits by class.
///
/// `fraction` (0 < fraction < 1) of each class, rounded to the nearest number (halves up), goes to validation, but at least one image, and at least
/// one stays for training; a class of one image stays for training as a whole. The choice depends on the seed, and for each class on that class's
/// images alone, in the order of their paths. Images whose files have the same content are never divided: they are held out together where there is
/// room for all, and stay for training where they have different classes. Tune with the validation part and report on a test folder that neither part
/// has seen.
///
/// Fails for a fraction out of range, and where nothing can be held out.
pub fn split(images: &ImageSet, fraction: f64, seed: u64) -> Result<Split> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::usage(format!(
            "cannot use {fraction} of the images for validation. Give a fraction between 0 and 1, such as 0.2"
        )));
    }
    let strata = strata(images);
    let mut draw = Draw::new(images);
    let (mut single, mut undivided) = (vec![], vec![]);
    for (label, (name, mut members)) in strata.into_iter().enumerate() {
        match members.len() {
            0 => continue,
            1 => single.push(name.clone()),
            _ => {}
        }
        Random::new(Purpose::Split, seed, label as u64, 0).shuffle(&mut members);
        let wanted = ((members.len() as f64 * fraction).round() as usize).max(1).min(members.len().saturating_sub(1));
        if draw.class(&members, wanted) == 0 && members.len() > 1 {
            undivided.push(name);
        }
    }
    let notes = draw.notes(&single, &undivided);
    // In the set's order, like any other.
    let (validation, training): (Vec<usize>, Vec<usize>) = (0..images.len()).partition(|&i| draw.held_out.get(i) == Some(&true));
    if validation.is_empty() || training.is_empty() {
        return Err(Error::data(format!(
            "no images of {} can be held out for validation: no class has two that differ. Add images, or give a validation folder",
            images.root().display()
        )));
    }
    Ok(Split { training: images.subset(&training)?, validation: images.subset(&validation)?, notes })
}

/// Images that are split by themselves, with a name: those of a class; those with the same classes, and together those of combinations that are there
/// once; all, where targets are numbers.
fn strata(images: &ImageSet) -> Vec<(String, Vec<usize>)> {
    match images.targets() {
        Targets::Classes(labels) => {
            let mut strata: Vec<(String, Vec<usize>)> = images.classes().iter().map(|name| (name.clone(), vec![])).collect();
            labels.iter().enumerate().for_each(|(i, &label)| strata.get_mut(label as usize).into_iter().for_each(|s| s.1.push(i)));
            strata
        }
        Targets::Several(labels) => {
            let mut by_combination: BTreeMap<&[u32], Vec<usize>> = BTreeMap::new();
            labels.iter().enumerate().for_each(|(i, labels)| by_combination.entry(labels).or_default().push(i));
            let (single, several): (Vec<_>, Vec<_>) = by_combination.into_iter().partition(|(_, members)| members.len() == 1);
            let name =
                |labels: &[u32]| labels.iter().filter_map(|&l| images.classes().get(l as usize)).cloned().collect::<Vec<_>>().join("+");
            let mut strata: Vec<(String, Vec<usize>)> = several.into_iter().map(|(labels, members)| (name(labels), members)).collect();
            strata.push(("single combinations".into(), single.into_iter().flat_map(|(_, members)| members).collect()));
            strata
        }
        Targets::Numbers(_) => vec![("all".into(), (0..images.len()).collect())],
    }
}

/// Which images are held out.
struct Draw {
    held_out: Vec<bool>,
    /// Of each image its place in `groups`, where others are like it.
    group: Vec<Option<usize>>,
    groups: Vec<Vec<usize>>,
    /// Of each group, once it is decided, whether it is held out.
    decided: Vec<Option<bool>>,
}

fn same_target(images: &ImageSet, a: usize, b: usize) -> bool {
    match images.targets() {
        Targets::Classes(of) => of.get(a) == of.get(b),
        Targets::Several(of) => of.get(a) == of.get(b),
        Targets::Numbers(of) => of.row(a) == of.row(b),
    }
}

impl Draw {
    fn new(images: &ImageSet) -> Draw {
        let groups: Vec<Vec<usize>> =
            identical::groups(&[images]).into_iter().map(|group| group.into_iter().map(|(_, i)| i).collect()).collect();
        let mut group = vec![None; images.len()];
        groups
            .iter()
            .enumerate()
            .for_each(|(g, members)| members.iter().for_each(|&i| group.get_mut(i).into_iter().for_each(|to| *to = Some(g))));
        // A picture with two labels teaches nothing about validation, and one class may need it.
        let one_class = |members: &Vec<usize>| members.iter().zip(members.iter().skip(1)).all(|(a, b)| same_target(images, *a, *b));
        let decided = groups.iter().map(|members| if one_class(members) { None } else { Some(false) }).collect();
        Draw { held_out: vec![false; images.len()], group, decided, groups }
    }

    /// Holds out `wanted` of a class's images, in their order, as far as identical ones allow. Gives how many.
    fn class(&mut self, members: &[usize], wanted: usize) -> usize {
        let size = |draw: &Draw, i: usize| match draw.group_of(i) {
            Some(g) => members.iter().filter(|&&m| draw.group_of(m) == Some(g)).count(),
            None => 1,
        };
        let mut taken = 0usize;
        for room in [wanted, members.len().saturating_sub(1)] {
            for &i in members {
                if !self.open(i) || taken >= wanted || taken.saturating_add(size(self, i)) > room {
                    continue;
                }
                taken = taken.saturating_add(size(self, i));
                self.decide(i, true);
            }
            // Where only groups are left that are larger than what is wanted, one of them has to do.
            if taken > 0 {
                break;
            }
        }
        members.iter().for_each(|&i| self.decide(i, false));
        taken
    }

    fn group_of(&self, i: usize) -> Option<usize> {
        self.group.get(i).copied().flatten()
    }

    fn open(&self, i: usize) -> bool {
        match self.group_of(i) {
            Some(g) => self.decided.get(g) == Some(&None),
            None => self.held_out.get(i) == Some(&false),
        }
    }

    fn decide(&mut self, i: usize, held_out: bool) {
        let Some(g) = self.group_of(i) else {
            self.held_out.get_mut(i).into_iter().for_each(|to| *to |= held_out);
            return;
        };
        let Some(open) = self.decided.get_mut(g).filter(|decided| decided.is_none()) else { return };
        *open = Some(held_out);
        for &i in self.groups.get(g).into_iter().flatten() {
            self.held_out.get_mut(i).into_iter().for_each(|to| *to = held_out);
        }
    }

    fn notes(&self, single: &[String], undivided: &[String]) -> Vec<String> {
        let mut notes = vec![];
        if !single.is_empty() {
            let (one, them) =
                if single.len() == 1 { ("1 class has".into(), "it is") } else { (format!("{} classes have", single.len()), "they are") };
            notes.push(format!("{one} one image only, which stays for training, so {them} not validated: {}", few(&quoted(single))));
        }
        if !undivided.is_empty() {
            let names = few(&quoted(undivided));
            notes.push(format!("all images of these classes are copies of each other or of others, so none of them is held out: {names}"));
        }
        if !self.groups.is_empty() {
            let copies: usize = self.groups.iter().map(|g| g.len().saturating_sub(1)).sum();
            notes.push(format!("{copies} images are copies of others, byte for byte; copies stay on one side of the split"));
        }
        notes
    }
}
