//! How long a run trains.

use serde::{Deserialize, Serialize};

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// As many epochs as the number of images asks for: see [`Length::chosen`].
    #[default]
    Auto,
    /// Passes over the images.
    Epochs(u64),
    /// Training steps.
    Steps(u64),
}

impl Length {
    /// What a training that nobody gave a length to has at least.
    pub const STEPS: u64 = 300;
    /// The fewest and the most epochs that it has.
    pub const EPOCHS: (u64, u64) = (10, 300);

    /// The number of steps, with so many in an epoch.
    pub fn steps(self, per_epoch: usize) -> u64 {
        match self {
            Length::Auto => Length::Epochs(Length::chosen(per_epoch as u64)).steps(per_epoch),
            Length::Epochs(n) => n.saturating_mul(per_epoch as u64),
            Length::Steps(n) => n,
        }
    }

    /// The epochs of a training that nobody gave a length to: as many as make [`Length::STEPS`] steps, within [`Length::EPOCHS`].
    pub fn chosen(per_epoch: u64) -> u64 {
        let (fewest, most) = Length::EPOCHS;
        Length::STEPS.div_ceil(per_epoch.max(1)).clamp(fewest, most)
    }
}

/// A first part of a run that was trained when another length was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Its last step.
    pub until: u64,
    /// The length that its learning rate follows.
    pub length: Length,
}
