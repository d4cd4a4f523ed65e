//! What a user can ask of the estimation.

use super::mode::Mode;
use crate::bundle::Images;
use crate::engine::EngineOptions;
use crate::storage::beside::beside;
use crate::train::Existing;
use std::path::PathBuf;

/// Options of [`super::fisher`].
#[derive(Debug, Clone)]
pub struct FisherOptions {
    /// The source network, an ONNX file.
    pub model: PathBuf,
    /// Source images, one sub-folder per class. The labels matter in empirical mode only.
    pub data: PathBuf,
    /// The file that is written.
    pub output: PathBuf,
    /// `None`: [`Mode::usual`].
    pub mode: Option<Mode>,
    /// m; `None`: every image once. Above the number of images in sampled mode only, which then draws several times.
    pub samples: Option<u64>,
    /// Decides which images are taken and the draws.
    pub seed: u64,
    /// (image, class) pairs per call; `None`: what fits into about 1 GiB.
    pub pairs: Option<usize>,
    /// What becomes of a file, or the checkpoint of one, that is there already.
    pub existing: Existing,
    /// Also write the graph of one call here: an ONNX model of standard operators.
    pub graph: Option<PathBuf>,
    /// A checkpoint after so many calls; `None`: every minute.
    pub checkpoint_every: Option<u64>,
    /// The runtime that computes the gradients.
    pub engine: EngineOptions,
    /// Threads that load images, 0 for one per core.
    pub workers: usize,
    /// Class names by label, for empirical mode.
    pub classes: Vec<String>,
    /// Sizes after the batch dimension, where the model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    /// How images are prepared; what is not said is as the model says.
    pub images: Images,
}

impl FisherOptions {
    /// Every image once, in the usual mode, on the default engine; an existing file is refused.
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
            images: Images::default(),
        }
    }

    /// Where an unfinished estimation is kept: beside the output.
    pub fn checkpoint(&self) -> PathBuf {
        beside(&self.output, "", ".checkpoint")
    }
}
