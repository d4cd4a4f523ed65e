//! What a user can ask of the estimation, and what follows from it.

use super::graph::{BatchLayout, FisherSubject};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

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

/// What to do about an estimate, or the checkpoint of one, that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    #[default]
    Refuse,
    Replace,
    /// Go on from the checkpoint.
    Resume,
}

/// Options of [`super::fisher`].
#[derive(Debug, Clone)]
pub struct FisherOptions {
    /// The source network, an ONNX file.
    pub model: PathBuf,
    /// Source images, one sub-folder per class. The labels matter in empirical mode only.
    pub data: PathBuf,
    pub output: PathBuf,
    /// `None`: [`Mode::usual`].
    pub mode: Option<Mode>,
    /// m; `None`: every image once. Above the number of images in sampled mode only, which then draws several times.
    pub samples: Option<u64>,
    /// Decides which images are taken and the draws.
    pub seed: u64,
    /// (image, class) pairs per call; `None`: what fits into about 1 GiB.
    pub pairs: Option<usize>,
    pub existing: Existing,
    /// Also write the graph of one call here: an ONNX model of standard operators.
    pub graph: Option<PathBuf>,
    /// A checkpoint after so many calls; `None`: every minute.
    pub checkpoint_every: Option<u64>,
    pub engine: EngineOptions,
    /// Threads that load images, 0 for one per core.
    pub workers: usize,
    /// Class names by label, for empirical mode.
    pub classes: Vec<String>,
    /// Sizes after the batch dimension, where the model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    pub resize: Option<usize>,
    pub mean: Option<Vec<f32>>,
    pub std: Option<Vec<f32>>,
}

impl FisherOptions {
    pub fn new(model: impl Into<PathBuf>, data: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        FisherOptions {
            model: model.into(),
            data: data.into(),
            output: output.into(),
            mode: None,
            samples: None,
            seed: 0,
            pairs: None,
            existing: Existing::Refuse,
            graph: None,
            checkpoint_every: None,
            engine: EngineOptions::default(),
            workers: 0,
            classes: vec![],
            input_shape: None,
            resize: None,
            mean: None,
            std: None,
        }
    }

    /// Where an unfinished estimation is kept: beside the output.
    pub fn checkpoint(&self) -> PathBuf {
        let mut name = self.output.clone().into_os_string();
        name.push(".checkpoint");
        name.into()
    }
}

/// What a call may take, roughly.
const MEMORY: usize = 1 << 30;
/// More pairs than this per call gain nothing.
const MOST_PAIRS: usize = 32;

/// Images and classes per call: whole images where their classes fit, else one image with an even part of its classes.
pub(super) fn shape(subject: &FisherSubject, mode: Mode, pairs: Option<usize>, samples: u64) -> Result<BatchLayout> {
    let per_image = mode.pairs(subject.classes);
    let pairs = match pairs {
        Some(0) => return Err(Error::usage("--pairs 0 makes no sense: give the number of (image, class) pairs per call, 1 or more")),
        Some(pairs) => pairs,
        // A pair's share: its own gradients of the largest layer and their squares, and half of its cotangents at once.
        None => {
            let pair = 2 * subject.largest + subject.activations / 2 + subject.activations / per_image.min(MOST_PAIRS);
            (MEMORY / pair.max(1)).clamp(1, MOST_PAIRS)
        }
    };
    let calls = per_image.div_ceil(pairs);
    let copies = per_image.div_ceil(calls);
    let rows = (pairs / copies).clamp(1, usize::try_from(samples).unwrap_or(usize::MAX).max(1));
    Ok(BatchLayout { rows, copies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};

    #[test]
    fn calls_hold_whole_images_or_even_parts_of_one() {
        let subject = |classes: usize| FisherSubject {
            input: TensorType::new(DType::F32, [1usize, 3, 32, 32]),
            input_name: "input".into(),
            classes,
            activations: 1 << 20,
            largest: 1 << 16,
        };
        let found = |classes, mode, pairs, samples| {
            let s = shape(&subject(classes), mode, pairs, samples).unwrap();
            (s.rows, s.copies)
        };
        assert_eq!(found(10, Mode::Exact, Some(64), 1000), (6, 10));
        assert_eq!(found(10, Mode::Exact, Some(8), 1000), (1, 5));
        assert_eq!(found(10, Mode::Exact, Some(1), 1000), (1, 1));
        assert_eq!(found(1000, Mode::Sampled, Some(64), 1000), (64, 1));
        assert_eq!(found(1000, Mode::Sampled, None, 5), (5, 1));
        assert!(shape(&subject(10), Mode::Exact, Some(0), 1).is_err());
    }
}
