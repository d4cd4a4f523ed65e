//! From a model to a bundle.

use super::choices::{Loss, Penalty};
use crate::artifact::make_bundle;
use crate::bundle::manifest::BatchNormMode;
use crate::bundle::{Bundle, ByPattern, DropoutMode, HeadOption, Images, Options, Penalize, PenaltyStep};
use crate::error::Result;
use crate::import::BatchSize;
use crate::loss::Regularizer;
use crate::optim::{Optimizer, UpdateRule};
use std::path::{Path, PathBuf};

/// How a pretrained model becomes a training graph.
///
/// ```no_run
/// use spgraph::prelude::*;
///
/// # fn main() -> spgraph::Result<()> {
/// let bundle = Rewrite::new()
///     .class_names(["wren", "robin", "finch"])
///     .penalty(Penalty::L2Sp)
///     .alpha(0.1)
///     .freeze_stages(1)
///     .batch(16)
///     .write("resnet50.onnx", "birds.spgraph")?;
/// println!("{} tensors of state", bundle.manifest.state.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "nothing is written before `write`"]
pub struct Rewrite {
    options: Options,
    replace: bool,
    head_given: bool,
}

impl Rewrite {
    /// With what is usual: the classifier that is there, L2-SP, SGD with momentum.
    pub fn new() -> Rewrite {
        Rewrite::default()
    }

    /// These options as they are.
    pub fn of(options: Options) -> Rewrite {
        Rewrite { options, replace: false, head_given: true }
    }

    /// Changes any option.
    pub fn with(mut self, change: impl FnOnce(&mut Options)) -> Rewrite {
        change(&mut self.options);
        self
    }

    /// What holds the parameters at their starting point.
    pub fn penalty(self, penalty: Penalty) -> Rewrite {
        self.with(|o| o.penalty = penalty.name().into())
    }

    /// Its strength on the shared parameters.
    pub fn alpha(self, alpha: f64) -> Rewrite {
        self.with(|o| o.alpha = Some(alpha))
    }

    /// Its strength on the new ones.
    pub fn beta(self, beta: f64) -> Rewrite {
        self.with(|o| o.beta = Some(beta))
    }

    /// A strength of its own for the parameters that a pattern matches.
    pub fn alpha_of(self, pattern: impl Into<String>, alpha: f64) -> Rewrite {
        self.with(|o| o.strengths.push(ByPattern { pattern: pattern.into(), value: alpha }))
    }

    /// Which parameters the penalty acts on.
    pub fn penalize(self, what: Penalize) -> Rewrite {
        self.with(|o| o.penalize = what)
    }

    /// How it acts: by its gradient, a proximal or a decoupled step.
    pub fn penalty_step(self, step: PenaltyStep) -> Rewrite {
        self.with(|o| o.penalty_step = step)
    }

    /// The file of `spgraph fisher`, for the penalties that weigh by it.
    pub fn fisher(self, file: impl Into<PathBuf>) -> Rewrite {
        self.with(|o| o.fisher = Some(file.into()))
    }

    /// One more loss on what the network computes.
    pub fn regularizer(self, regularizer: Regularizer) -> Rewrite {
        self.with(|o| o.regularizers.push(regularizer))
    }

    /// A new classifier for so many classes.
    pub fn classes(mut self, count: usize) -> Rewrite {
        self.head_given = true;
        self.with(|o| o.head = HeadOption::Classes(count))
    }

    /// A new classifier for these classes.
    pub fn class_names<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Rewrite {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        self.classes(names.len()).with(|o| o.classes = names)
    }

    /// The classifier that is there stays, and is trained.
    pub fn keep_head(mut self) -> Rewrite {
        self.head_given = true;
        self.with(|o| o.head = HeadOption::Keep)
    }

    /// What a pattern matches stays as it is.
    pub fn freeze(self, pattern: impl Into<String>) -> Rewrite {
        self.with(|o| o.freeze.push(pattern.into()))
    }

    /// The first stages stay as they are.
    pub fn freeze_stages(self, count: usize) -> Rewrite {
        self.with(|o| o.freeze_stages = count)
    }

    /// Trains what a pattern matches, and nothing else.
    pub fn train(self, pattern: impl Into<String>) -> Rewrite {
        self.with(|o| o.train.push(pattern.into()))
    }

    /// What BatchNorm normalizes with.
    pub fn batch_norm(self, mode: BatchNormMode) -> Rewrite {
        self.with(|o| o.batch_norm = Some(mode))
    }

    /// What becomes of the Dropout that the network has.
    pub fn dropout(self, mode: DropoutMode) -> Rewrite {
        self.with(|o| o.dropout = mode)
    }

    /// Images in each step.
    pub fn batch(self, images: usize) -> Rewrite {
        self.with(|o| o.batch = BatchSize::Fixed(images))
    }

    /// Any number of images in a step.
    pub fn any_batch(self) -> Rewrite {
        self.with(|o| o.batch = BatchSize::Dynamic)
    }

    /// The learning rate where a training gives none.
    pub fn lr(self, lr: f64) -> Rewrite {
        self.with(|o| o.lr = Some(lr))
    }

    /// What turns gradients into next weights: `Sgd { .. }`, `AdamW { .. }`, `Lars { .. }`.
    pub fn optimizer(self, rule: impl Into<UpdateRule>) -> Rewrite {
        let rule = rule.into();
        self.with(|o| o.optimizer.rule = rule)
    }

    /// The optimizer with its clipping and averaging.
    pub fn whole_optimizer(self, optimizer: Optimizer) -> Rewrite {
        self.with(|o| o.optimizer = optimizer)
    }

    /// Gradients are scaled down where their global norm is above this.
    pub fn clip_norm(self, norm: f64) -> Rewrite {
        self.with(|o| o.optimizer.clip_norm = Some(norm))
    }

    /// A moving average of the weights is kept, with that decay.
    pub fn ema(self, decay: f64) -> Rewrite {
        self.with(|o| o.optimizer.ema = Some(decay))
    }

    /// A factor on the learning rate of what a pattern matches.
    pub fn lr_mult(self, pattern: impl Into<String>, factor: f64) -> Rewrite {
        self.with(|o| o.lr_mult.push(ByPattern { pattern: pattern.into(), value: factor }))
    }

    /// What is minimised on the images.
    pub fn loss(self, loss: Loss) -> Rewrite {
        self.with(|o| o.loss = Some(loss.name().into()))
    }

    /// So much of each target is spread evenly over all classes.
    pub fn label_smoothing(self, share: f64) -> Rewrite {
        self.with(|o| o.label_smoothing = share)
    }

    /// The target is a number for every score: for several labels, numbers, and mixed images.
    pub fn soft_targets(self) -> Rewrite {
        self.with(|o| o.soft_targets = true)
    }

    /// How the network wants images, where the model does not say it.
    pub fn images(self, images: Images) -> Rewrite {
        self.with(|o| o.preprocessing = Some(images))
    }

    /// Sizes after the batch, where the model leaves them open: `[3, 224, 224]`.
    pub fn input_shape(self, sizes: impl Into<Vec<usize>>) -> Rewrite {
        self.with(|o| o.input_shape = Some(sizes.into()))
    }

    /// The seed of a new classifier's weights.
    pub fn seed(self, seed: u64) -> Rewrite {
        self.with(|o| o.seed = seed)
    }

    /// Also writes the step in two halves, for gradients from elsewhere.
    pub fn split(self) -> Rewrite {
        self.with(|o| o.split = true)
    }

    /// A bundle that is there is replaced.
    pub fn replace(mut self) -> Rewrite {
        self.replace = true;
        self
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether somebody said what becomes of the classifier.
    pub(super) fn head_given(&self) -> bool {
        self.head_given
    }

    /// Rewrites `model` and writes the bundle `output`.
    pub fn write(&self, model: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Bundle> {
        let made = make_bundle(model.as_ref(), output.as_ref(), &self.options, self.replace)?;
        Bundle::open(&made.path)
    }
}
