//! Every operation, in the order in which a recipe does them.

use super::affine::Affine;
use super::blur::Blur;
use super::color::Color;
use super::cutmix::Cutmix;
use super::erase::Erase;
use super::flip_crop::FlipCrop;
use super::gray::Gray;
use super::mirror::{HorizontalFlip, VerticalFlip};
use super::mixup::Mixup;
use super::operation::{Action, Operate};
use super::rand_augment::RandAugment;
use super::resized_crop::ResizedCrop;
use super::rotate::Rotate;
use super::trivial_augment::TrivialAugment;

/// Declares [`Operation`] and what is known of each.
macro_rules! operations {
    ($($(#[doc = $meaning:literal])* $name:literal, $stream:literal => $own:ident;)*) => {
        /// An operation with its parameters.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum Operation {
            $($(#[doc = $meaning])* $own($own),)*
        }

        /// Every operation with its usual parameters, in the order in which a recipe does them.
        pub static OPERATIONS: &[fn() -> Operation] = &[$(|| Operation::$own($own::default()),)*];

        impl Operation {
            /// The name in a recipe.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Operation::$own(_) => $name,)*
                }
            }

            /// What it does, in a line.
            pub fn meaning(&self) -> &'static str {
                match self {
                    $(Operation::$own(_) => concat!($($meaning),*).trim_ascii(),)*
                }
            }

            /// The number of its stream of random numbers, which stays what it is when other operations are added.
            pub(super) fn stream(&self) -> u32 {
                match self {
                    $(Operation::$own(_) => $stream,)*
                }
            }

            /// Its parameters, to read and to set.
            pub(super) fn operate(&mut self) -> &mut dyn Operate {
                match self {
                    $(Operation::$own(own) => own,)*
                }
            }

            /// What it does.
            pub(super) fn action(&self) -> Action<'_> {
                match self {
                    $(Operation::$own(own) => own.action(),)*
                }
            }

            /// Why its parameters do not go together, where they do not.
            pub(super) fn conflict(&self) -> Option<String> {
                match self {
                    $(Operation::$own(own) => own.conflict(),)*
                }
            }
        }

        $(impl From<$own> for Operation {
            fn from(own: $own) -> Operation {
                Operation::$own(own)
            }
        })*
    };
}

// Crops and colours share the stream of before there were others.
operations! {
    /// a random window of the image resized by its shorter side, mirrored half of the time
    "flip-crop", 0 => FlipCrop;
    /// a random region of a random share of the image, scaled to the input's size, mirrored half of the time
    "resized-crop", 0 => ResizedCrop;
    /// mirrored left to right
    "hflip", 1 => HorizontalFlip;
    /// mirrored upside down
    "vflip", 2 => VerticalFlip;
    /// turned about the middle
    "rotate", 3 => Rotate;
    /// turned, moved, scaled and sheared at once
    "affine", 4 => Affine;
    /// several of fourteen changes one after another, all at one magnitude
    "randaugment", 5 => RandAugment;
    /// one of fourteen changes, at a magnitude by chance
    "trivialaugment", 6 => TrivialAugment;
    /// brightness, contrast, saturation and hue, in random order
    "color", 0 => Color;
    /// without colour
    "gray", 7 => Gray;
    /// blurred by a Gaussian of random width
    "blur", 8 => Blur;
    /// a rectangle is erased
    "erase", 9 => Erase;
    /// the sum of two images of the batch, and of their targets
    "mixup", 10 => Mixup;
    /// a box of another image of the batch, and so much of its target
    "cutmix", 11 => Cutmix;
}

impl Operation {
    /// Its place in the order.
    pub(super) fn place(&self) -> usize {
        OPERATIONS.iter().position(|usual| usual().name() == self.name()).unwrap_or(OPERATIONS.len())
    }

    /// Where on an image's way it acts.
    pub fn stage(&self) -> &'static str {
        match self.action() {
            Action::Crop(_) => "crop",
            Action::Bytes(_) => "bytes",
            Action::Values(_) => "values",
            Action::Input(_) => "input",
            Action::Batch(_) => "batch",
        }
    }

    /// Whether it mixes images, so that a target is no longer a single class.
    pub fn mixes(&self) -> bool {
        matches!(self.action(), Action::Batch(_))
    }
}
