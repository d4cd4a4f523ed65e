//! What a step's targets are: labels, or probabilities of the classes.

use crate::bundle::manifest::Manifest;
use crate::data::Augment;
use crate::error::{Error, Result};

/// Fails where a recipe mixes images and the step takes labels.
pub(super) fn check(augment: &Augment, manifest: &Manifest) -> Result<()> {
    if !augment.needs_soft_targets() || manifest.data.target.dtype.is_float() {
        return Ok(());
    }
    let mixing: Vec<&str> = augment.operations().iter().filter(|o| o.mixes()).map(|o| o.name()).collect();
    Err(Error::usage(format!(
        "{} mixes images, whose targets are then probabilities of the classes, and the bundle's step takes labels. Leave it out of the recipe",
        mixing.join("+")
    )))
}
