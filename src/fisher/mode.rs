//! Which gradients an estimate sums.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which (image, class) pairs are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Every class, weighted by its probability: the paper's estimator.
    Exact,
    /// One class for each image, drawn from the network's own distribution: unbiased for `Exact`.
    Sampled,
    /// The label: the "empirical Fisher", which is another quantity.
    Empirical,
}

impl Mode {
    /// As it is written on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Exact => "exact",
            Mode::Sampled => "sampled",
            Mode::Empirical => "empirical",
        }
    }

    /// `Exact` up to [`Mode::MANY`] classes, `Sampled` above: exact costs a backward pass for every class.
    pub fn usual(classes: usize) -> Mode {
        if classes > Mode::MANY { Mode::Sampled } else { Mode::Exact }
    }

    /// The number of classes up to which every class is usual.
    pub const MANY: usize = 64;

    /// Pairs for each image.
    pub fn pairs(self, classes: usize) -> usize {
        if self == Mode::Exact { classes } else { 1 }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
