//! What a user can ask of the rewriting, and its defaults.

use crate::emit::Dialect;
use crate::error::{Error, Result};
use crate::import::Batch;
use crate::manifest::{BatchNormMode, Preprocessing};
use crate::optim::Optimizer;
use crate::penalty::{self, Penalty};

/// What becomes of the classifier.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadOption {
    Keep,
    /// A new one for so many classes, freshly initialised.
    Classes(usize),
}

/// Which parameters the penalty acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Penalize {
    /// The weights of Conv, Gemm and MatMul, as in the paper.
    #[default]
    Weights,
    /// Biases and BatchNorm's scale and shift as well.
    All,
}

/// Options of [`crate::rewrite::rewrite`]; the defaults are what the command line uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// `none`, `l2`, `l2-sp`, …
    pub penalty: String,
    /// Strength on shared parameters; `None`: the penalty's default.
    pub alpha: Option<f64>,
    /// Strength on new parameters; `None`: the penalty's default, for `l2` the given `alpha`.
    pub beta: Option<f64>,
    pub penalize: Penalize,
    pub head: HeadOption,
    /// Glob patterns on names and aliases of parameters that stay as they are.
    pub freeze: Vec<String>,
    /// `None`: `train` where the network has live BatchNorm.
    pub batch_norm: Option<BatchNormMode>,
    pub batch: Batch,
    /// Default learning rate of the bundle; `None`: the optimizer's.
    pub lr: Option<f64>,
    pub optimizer: Optimizer,
    /// Factors on the learning rate by glob pattern on names and aliases; of several that match, the last counts.
    pub lr_mult: Vec<(String, f64)>,
    pub label_smoothing: f64,
    /// Sizes after the batch dimension, where the model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    /// Weights in `weights.bin`, always above 1 GiB.
    pub external_data: bool,
    /// Also write `grad.onnx` and `apply.onnx`.
    pub split: bool,
    pub dialect: Dialect,
    pub keep_ties: bool,
    /// Seed of a new head's weights.
    pub seed: u64,
    /// Class names by label.
    pub classes: Vec<String>,
    /// What is done to an image; `None`: ImageNet's, with the network's input size.
    pub preprocessing: Option<Preprocessing>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            penalty: "l2-sp".into(),
            alpha: None,
            beta: None,
            penalize: Penalize::Weights,
            head: HeadOption::Keep,
            freeze: vec![],
            batch_norm: None,
            batch: Batch::Fixed(32),
            lr: None,
            optimizer: Optimizer::default(),
            lr_mult: vec![],
            label_smoothing: 0.0,
            input_shape: None,
            external_data: false,
            split: false,
            dialect: Dialect::Functions,
            keep_ties: false,
            seed: 0,
            classes: vec![],
            preprocessing: None,
        }
    }
}

/// A penalty with its strengths.
#[derive(Clone, Copy)]
pub struct Strength {
    pub penalty: &'static dyn Penalty,
    pub alpha: f64,
    pub beta: f64,
}

impl Options {
    /// The bundle's default learning rate.
    pub fn lr(&self) -> f64 {
        self.lr.unwrap_or_else(|| self.optimizer.rule.default_lr())
    }

    /// Fails on values that make no sense; gives the penalty with its strengths.
    pub fn check(&self) -> Result<Option<Strength>> {
        self.optimizer.check()?;
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return Err(Error::usage(format!("--label-smoothing {} is not at least 0 and below 1", self.label_smoothing)));
        }
        let lr = self.lr();
        if !(lr.is_finite() && lr > 0.0) {
            return Err(Error::usage(format!("--lr {lr} is no positive number")));
        }
        if let Some((pattern, factor)) = self.lr_mult.iter().find(|(_, f)| !(f.is_finite() && *f >= 0.0)) {
            return Err(Error::usage(format!("--lr-mult '{pattern}={factor}': the factor must be 0 or a positive number")));
        }
        if self.batch == Batch::Fixed(0) {
            return Err(Error::usage("--batch 0 makes no sense: give the number of images per step, or `dynamic`"));
        }
        for (name, value) in [("--alpha", self.alpha), ("--beta", self.beta)] {
            if value.is_some_and(|v| !(v.is_finite() && v >= 0.0)) {
                return Err(Error::usage(format!(
                    "{name} {} is no strength: it must be 0 or a positive number",
                    value.unwrap_or_default()
                )));
            }
        }
        match self.head {
            HeadOption::Classes(n) if n < 2 => return Err(Error::usage(format!("--classes {n}: a classifier needs at least 2 classes"))),
            HeadOption::Classes(n) if !self.classes.is_empty() && self.classes.len() != n => {
                return Err(Error::usage(format!("--classes {n} does not fit the {} class names that were given", self.classes.len())));
            }
            _ => {}
        }
        let Some(penalty) = penalty::find(&self.penalty)? else {
            if self.alpha.is_some() || self.beta.is_some() {
                return Err(Error::usage("--alpha and --beta have no meaning with --penalty none"));
            }
            return Ok(None);
        };
        let (alpha, beta) = penalty.defaults();
        // Plain weight decay has one strength unless a second one is given.
        let beta = if penalty.uses_start() { beta } else { self.alpha.unwrap_or(beta) };
        Ok(Some(Strength { penalty, alpha: self.alpha.unwrap_or(alpha), beta: self.beta.unwrap_or(beta) }))
    }
}
