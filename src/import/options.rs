//! What an import is told.

use crate::error::{Error, Result};
use crate::ir::Dim;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// The batch size that a graph is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// So many images in every call.
    Fixed(usize),
    /// The symbol `N`.
    Dynamic,
}

impl fmt::Display for BatchSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchSize::Fixed(n) => write!(f, "{n}"),
            BatchSize::Dynamic => f.write_str("dynamic"),
        }
    }
}

impl FromStr for BatchSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<BatchSize> {
        match text {
            "dynamic" => Ok(BatchSize::Dynamic),
            _ => text.parse().map(BatchSize::Fixed).map_err(|_| Error::usage("give a number of images or `dynamic`")),
        }
    }
}

/// A number, or `dynamic`.
impl Serialize for BatchSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            BatchSize::Fixed(n) => n.serialize(to),
            BatchSize::Dynamic => to.serialize_str("dynamic"),
        }
    }
}

impl<'de> Deserialize<'de> for BatchSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<BatchSize, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of images per step, or \"dynamic\", is needed")]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(from)? {
            Written::Number(n) => Ok(BatchSize::Fixed(n)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl From<BatchSize> for Dim {
    fn from(b: BatchSize) -> Dim {
        match b {
            BatchSize::Fixed(n) => Dim::Known(n),
            BatchSize::Dynamic => Dim::Batch(1),
        }
    }
}

/// What the model itself does not say.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// For which batches.
    pub batch: BatchSize,
    /// Sizes after the batch dimension, instead of the model's own.
    pub input_shape: Option<Vec<usize>>,
    /// Keep one parameter where the exporter wrote one initializer for several of equal value.
    pub keep_ties: bool,
}
