//! Images that a program has in memory.

use super::array_set::misfit;
use super::image_set::ImageSet;
use super::labels::KnownClasses;
use super::listing::{Skipped, few};
use super::pixels::{PixelArray, Store};
use super::targets::{TargetKind, Targets};
use crate::error::{Error, Result};
use crate::field::Field;
use ndarray::{Array4, ArrayView4};
use std::path::Path;
use std::sync::Arc;

impl ImageSet {
    /// What stands in the place of a path where images are in memory.
    pub const IN_MEMORY: &'static str = "(images in memory)";

    /// Whether `path` stands for images in memory.
    pub fn is_in_memory(path: &Path) -> bool {
        path.as_os_str() == Self::IN_MEMORY
    }

    /// Images from memory, each of one class: `images` is N×H×W×C, red green blue or grey, `labels` are places in `classes`. They are resized and
    /// normalised as the network wants it, and can be augmented, as those of files are.
    pub fn labelled<S: AsRef<str>>(images: ArrayView4<u8>, labels: &[usize], classes: &[S]) -> Result<ImageSet> {
        let wrong: Vec<String> = labels
            .iter()
            .enumerate()
            .filter(|(_, label)| **label >= classes.len())
            .map(|(i, label)| format!("image {i} has {label}"))
            .collect();
        if !wrong.is_empty() {
            return Err(Error::data(format!(
                "{} of {} labels are none of the {} classes, which are numbered from 0 on: {}",
                wrong.len(),
                labels.len(),
                classes.len(),
                few(&wrong)
            )));
        }
        let targets = Targets::Classes(labels.iter().map(|&label| label as u32).collect());
        ImageSet::of_pixels(images, targets, classes.iter().map(|name| name.as_ref().into()).collect())
    }

    /// Images from memory, N×H×W×C with 1 or 3 channels, with any targets. `classes` are the names by label; none where the targets are numbers.
    pub fn of_pixels(images: ArrayView4<u8>, targets: Targets, classes: Vec<String>) -> Result<ImageSet> {
        let (count, height, width, channels) = images.dim();
        let shown = format!("the array of images, {:?},", images.shape());
        if let Some(why) = misfit(count, height, width) {
            return Err(Error::data(format!("{shown} {why}")));
        }
        if !matches!(channels, 1 | 3) {
            return Err(Error::data(format!("{shown} has {channels} channels. Give it as [N, height, width, 3], or 1 for grey")));
        }
        check_targets(&targets, count, &classes)?;
        let bytes = images.iter().copied().collect();
        let pixels = PixelArray { bytes, count, height, width, channels, planes: false };
        Ok(ImageSet::in_memory(Store::Pixels(pixels), targets, classes))
    }

    /// Inputs from memory that are ready: `values` is N×C×H×W as the network takes it, neither resized nor normalised.
    pub fn of_values(values: Array4<f32>, targets: Targets, classes: Vec<String>) -> Result<ImageSet> {
        let (count, _, height, width) = values.dim();
        if let Some(why) = misfit(count, height, width) {
            return Err(Error::data(format!("the array of inputs, {:?}, {why}", values.shape())));
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::data(format!("the inputs have a value that is no number, {bad}")));
        }
        check_targets(&targets, count, &classes)?;
        Ok(ImageSet::in_memory(Store::Values(values), targets, classes))
    }

    fn in_memory(store: Store, targets: Targets, classes: Vec<String>) -> ImageSet {
        ImageSet {
            root: Self::IN_MEMORY.into(),
            classes,
            places: (0..store.len() as u32).collect(),
            store: Arc::new(store),
            targets,
            skipped: Skipped::default(),
            told: vec![],
            labels_assumed: false,
        }
    }

    /// What images have as their target.
    pub fn target_kind(&self) -> TargetKind {
        match &self.targets {
            Targets::Classes(_) => TargetKind::Class,
            Targets::Several(_) => TargetKind::Several,
            Targets::Numbers(numbers) => TargetKind::Numbers(numbers.ncols()),
        }
    }

    /// These images as a network takes them of which that is known. Fails where their classes or targets are others than the network's.
    pub fn for_network(mut self, known: &KnownClasses) -> Result<ImageSet> {
        let shown = self.root.display().to_string();
        if let (Some(TargetKind::Several), Targets::Classes(labels)) = (known.targets, &self.targets) {
            self.targets = Targets::Several(labels.iter().map(|&label| Box::from([label])).collect());
        }
        match (known.targets, self.target_kind()) {
            (Some(TargetKind::Numbers(wanted)), TargetKind::Numbers(found)) if wanted != found => {
                return Err(Error::data(format!("{shown}: {found} numbers for each image, and the network gives {wanted}")));
            }
            // A loss on numbers takes classes as well.
            (None | Some(TargetKind::Numbers(_)), _) => {}
            (Some(wanted), found) if wanted == found => {}
            (Some(TargetKind::Class), _) => {
                return Err(Error::data(format!(
                    "{shown}: the loss takes one class for each image, and these have several or numbers. Make the bundle with {} bce or mse, and {}",
                    Field::LOSS,
                    Field::SOFT_TARGETS
                )));
            }
            (Some(_), _) => {
                return Err(Error::data(format!(
                    "{shown}: the loss takes classes, and these images have numbers. Make the bundle with {} mse",
                    Field::LOSS
                )));
            }
        }
        if matches!(self.targets, Targets::Numbers(_)) {
            return Ok(self);
        }
        if let Some(count) = known.count.filter(|&count| count != self.classes.len()) {
            return Err(Error::data(format!(
                "{shown}: {} classes, and the network has {count}. Rewrite the model with {} {} for a new head",
                self.classes.len(),
                Field::CLASSES,
                self.classes.len()
            )));
        }
        let pairs = self.classes.iter().zip(known.names).enumerate();
        if let Some((label, (own, other))) = pairs.into_iter().find(|(_, (own, other))| own != other) {
            return Err(Error::data(format!(
                "{shown}: label {label} is called {own}, and the network's is {other}. Number the labels as the network does"
            )));
        }
        Ok(self)
    }
}

fn check_targets(targets: &Targets, count: usize, classes: &[String]) -> Result<()> {
    if targets.len() != count {
        return Err(Error::data(format!("{} targets do not go with {count} images. Give one for each image", targets.len())));
    }
    let outside = match targets {
        Targets::Classes(labels) => labels.iter().copied().find(|&label| label as usize >= classes.len()),
        Targets::Several(labels) => labels.iter().flatten().copied().find(|&label| label as usize >= classes.len()),
        Targets::Numbers(numbers) => {
            if let Some(bad) = numbers.iter().find(|v| !v.is_finite()) {
                return Err(Error::data(format!("the targets have a value that is no number, {bad}")));
            }
            None
        }
    };
    match outside {
        Some(label) => {
            Err(Error::data(format!("the label {label} is none of the {} classes, which are numbered from 0 on", classes.len())))
        }
        None => Ok(()),
    }
}
