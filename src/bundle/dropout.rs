//! What is asked for about Dropout.

use serde::{Deserialize, Serialize};

/// What becomes of a network's Dropout in training.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropoutMode {
    /// It does nothing, as in inference.
    #[default]
    Off,
    /// It drops what masks say that follow from a seed and the number of the step.
    Keep,
}

impl DropoutMode {
    /// Whether it is the usual one.
    pub fn is_off(&self) -> bool {
        *self == DropoutMode::Off
    }
}
