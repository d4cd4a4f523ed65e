//! What every operation of a recipe has in common: parameters that can be read and set by name, and what it does to an image.

use super::choice::Choice;
use crate::data::preprocess::Recipe;
use crate::data::random::Random;
use crate::error::Result;
use image::RgbImage;
use ndarray::{ArrayViewMut3, CowArray, Ix3};

/// One parameter of an operation.
pub struct Parameter<'a> {
    /// Its name in a recipe.
    pub name: &'static str,
    /// What it is, in a few words.
    pub meaning: &'static str,
    /// Its value.
    pub slot: Slot<'a>,
    /// Whether a recipe shows it even where it has its usual value.
    pub shown: bool,
}

/// Where a parameter's value lies, and which values it may have.
pub enum Slot<'a> {
    /// A number within bounds.
    Number(&'a mut f32, [f32; 2]),
    /// A whole number within bounds.
    Whole(&'a mut u32, [u32; 2]),
    /// One of a few names.
    Choice(&'a mut dyn Choice),
}

impl Parameter<'_> {
    /// A number between two bounds, both allowed.
    pub fn number<'a>(name: &'static str, value: &'a mut f32, bounds: [f32; 2], meaning: &'static str) -> Parameter<'a> {
        Parameter { name, meaning, slot: Slot::Number(value, bounds), shown: false }
    }

    /// A whole number between two bounds, both allowed.
    pub fn whole<'a>(name: &'static str, value: &'a mut u32, bounds: [u32; 2], meaning: &'static str) -> Parameter<'a> {
        Parameter { name, meaning, slot: Slot::Whole(value, bounds), shown: false }
    }

    /// One of a few names.
    pub fn choice<'a>(name: &'static str, value: &'a mut dyn Choice, meaning: &'static str) -> Parameter<'a> {
        Parameter { name, meaning, slot: Slot::Choice(value), shown: false }
    }
}

impl<'a> Parameter<'a> {
    /// The same, always shown.
    pub fn always(self) -> Parameter<'a> {
        Parameter { shown: true, ..self }
    }
}

/// The side of an operation that its row of the table needs.
pub trait Operate {
    /// Its parameters, in the order in which they may be given without their names.
    fn parameters(&mut self) -> Vec<Parameter<'_>>;

    /// What it does, and where on the image's way.
    fn action(&self) -> Action<'_>;

    /// Why its parameters do not go together, where they do not.
    fn conflict(&self) -> Option<String> {
        None
    }
}

/// What an operation does, by the place on the image's way where it does it.
pub enum Action<'a> {
    /// It chooses the part of the image that is taken.
    Crop(&'a dyn Crop),
    /// It changes the pixels' bytes, at the size of the network's input.
    Bytes(&'a dyn ChangeBytes),
    /// It changes red, green and blue values between 0 and 1.
    Values(&'a dyn ChangeValues),
    /// It changes what enters the network, normalized.
    Input(&'a dyn ChangeInput),
    /// It mixes the images of a batch and their targets.
    Batch(&'a dyn MixBatch),
}

/// Chooses the part of the image that is taken.
pub trait Crop {
    /// Whether it starts from the image resized by the shorter side; otherwise from the image as it was decoded.
    fn wants_resized(&self) -> bool;

    /// The part, at the size of the network's input: `height`×`width`×3.
    fn crop<'i>(&self, image: &'i RgbImage, recipe: &Recipe, random: &mut Random) -> Result<CowArray<'i, u8, Ix3>>;
}

/// Changes bytes.
pub trait ChangeBytes {
    /// In place; the size stays.
    fn change(&self, image: &mut RgbImage, random: &mut Random);
}

/// Changes values between 0 and 1.
pub trait ChangeValues {
    /// In place, on 3×H×W values.
    fn change(&self, planes: ArrayViewMut3<f32>, random: &mut Random);
}

/// Changes normalized values.
pub trait ChangeInput {
    /// In place, on C×H×W values.
    fn change(&self, input: ArrayViewMut3<f32>, random: &mut Random);
}

/// Says how a batch is mixed.
pub trait MixBatch {
    /// For images of that size. The image of each row meets that of the row before it.
    fn blend(&self, height: usize, width: usize, random: &mut Random) -> Blend;
}

/// How two images become one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blend {
    /// A sum, of which the row's own image has this share.
    Sum(f32),
    /// The row's own image, but for a box.
    Box {
        /// Its first row.
        top: usize,
        /// The row after its last.
        bottom: usize,
        /// Its first column.
        left: usize,
        /// The column after its last.
        right: usize,
        /// The share of the image outside the box.
        share: f32,
    },
}

impl Blend {
    /// The share of the row's own target.
    pub fn share(&self) -> f32 {
        match *self {
            Blend::Sum(share) | Blend::Box { share, .. } => share,
        }
    }
}
