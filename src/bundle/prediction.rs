//! Which of a network's outputs tells classes apart, and how to read it.

use crate::loss::Activation;
use serde::{Deserialize, Serialize};

/// The output that is a classifier's, in a manifest and in the metadata of an export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictionPort {
    /// Its name in the network.
    pub output: String,
    /// What it is of the logits.
    pub activation: Activation,
    /// The loss that it is trained with, by name.
    pub loss: String,
}
