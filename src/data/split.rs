//! Splitting a folder into training and validation images.

use crate::data::folder::ImageFolder;
use crate::data::random::{Purpose, Random};
use crate::error::{Error, Result};

/// Splits by class: returns the training part and the validation part, which have no image in common.
///
/// `fraction` (0 < fraction < 1) of each class, rounded, goes to validation, but at least one image, and at least one
/// stays for training. The choice depends on the seed, and for each class on that class's images alone. Tune with the
/// validation part and report on a test folder that neither part has seen.
///
/// Fails for a fraction out of range, and for a class that has one image only.
pub fn split(folder: &ImageFolder, fraction: f64, seed: u64) -> Result<(ImageFolder, ImageFolder)> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Error::usage(format!(
            "cannot use {fraction} of the images for validation. Give a fraction between 0 and 1, such as 0.2"
        )));
    }
    let mut by_class = vec![Vec::new(); folder.classes().len()];
    folder.samples().iter().enumerate().for_each(|(i, sample)| by_class[sample.label].push(i));
    let (mut training, mut validation) = (Vec::new(), Vec::new());
    for (label, mut members) in by_class.into_iter().enumerate() {
        match members.len() {
            0 => continue,
            1 => {
                return Err(Error::data(format!(
                    "class `{}` in {} has one image only, which cannot be both for training and for validation. Add images, or give a validation folder",
                    folder.classes()[label],
                    folder.root().display()
                )));
            }
            _ => {}
        }
        Random::new(Purpose::Split, seed, label as u64, 0).shuffle(&mut members);
        let held_out = ((members.len() as f64 * fraction).round() as usize).clamp(1, members.len() - 1);
        validation.extend_from_slice(&members[..held_out]);
        training.extend_from_slice(&members[held_out..]);
    }
    // In the folder's order, like any other folder.
    training.sort_unstable();
    validation.sort_unstable();
    Ok((folder.subset(&training)?, folder.subset(&validation)?))
}
