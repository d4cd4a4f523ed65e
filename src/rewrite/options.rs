//! What a user can ask of the rewriting, and its defaults.

use super::regularizers::{self, RegularizerRequest};
use crate::bundle::manifest::{BatchNormMode, Preprocessing};
use crate::emit::Dialect;
use crate::error::{Error, Result};
use crate::import::BatchSize;
use crate::loss;
use crate::optim::Optimizer;
use crate::penalty::{self, Penalty};
use std::path::PathBuf;

/// What becomes of the classifier.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadOption {
    Keep,
    /// A new one for so many classes, freshly initialised.
    Classes(usize),
}

/// Which parameters the penalty acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Penalize {
    /// The weights of Conv, Gemm and MatMul, as in the paper.
    #[default]
    Weights,
    /// Biases and BatchNorm's scale and shift as well.
    All,
    /// What one of the glob patterns matches, by name or alias, and nothing else.
    Patterns(Vec<String>),
}

/// How the penalty acts on shared parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PenaltyStep {
    /// Its gradient is added to the data loss's.
    #[default]
    Gradient,
    /// The proximal step with `lr·α` after the optimizer's step on the data loss. New parameters keep the gradient.
    Proximal,
    /// `w ← w − lr·∇Ω(w)` beside the optimizer, also on new parameters: quadratic penalties only.
    Decoupled,
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
    /// Patterns of parameters that the penalty leaves out.
    pub sp_exclude: Vec<String>,
    /// Patterns with an α of their own; of several that match the last one counts.
    pub strengths: Vec<(String, f64)>,
    /// α of the first layer as a multiple of α of the last one, geometric between; not for `strengths`.
    pub alpha_depth: Option<f64>,
    pub penalty_step: PenaltyStep,
    /// The file of `spgraph fisher`, for the penalties that read it.
    pub fisher: Option<PathBuf>,
    /// Losses on what the network computes, beside the penalty on its parameters.
    pub regularizers: Vec<RegularizerRequest>,
    pub regularizer_settings: loss::Settings,
    /// Patterns on the weights of the layers whose output `delta` compares; with none given the last convolution of each residual stage.
    pub delta_layers: Vec<String>,
    /// The file of `spgraph attention`, for `delta`.
    pub attention: Option<PathBuf>,
    pub head: HeadOption,
    /// Text file that says which classes of a new head start as copies of which of the old.
    pub head_map: Option<PathBuf>,
    /// Glob patterns on names and aliases of parameters that stay as they are.
    pub freeze: Vec<String>,
    /// Freeze the layers before the first residual unit and the stages after them, this many in all.
    pub freeze_stages: usize,
    /// The same, with every residual unit counted.
    pub freeze_units: usize,
    /// Patterns of what is trained; with none given, everything that is not frozen. A new head always is.
    pub train: Vec<String>,
    /// `None`: `train` where the network has live BatchNorm.
    pub batch_norm: Option<BatchNormMode>,
    pub batch: BatchSize,
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
            sp_exclude: vec![],
            strengths: vec![],
            alpha_depth: None,
            penalty_step: PenaltyStep::Gradient,
            fisher: None,
            regularizers: vec![],
            regularizer_settings: loss::Settings::default(),
            delta_layers: vec![],
            attention: None,
            head: HeadOption::Keep,
            head_map: None,
            freeze: vec![],
            freeze_stages: 0,
            freeze_units: 0,
            train: vec![],
            batch_norm: None,
            batch: BatchSize::Fixed(32),
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
        if self.batch == BatchSize::Fixed(0) {
            return Err(Error::usage("--batch 0 makes no sense: give the number of images per step, or `dynamic`"));
        }
        // No network comes near these, and no product of sizes overflows below them.
        if let BatchSize::Fixed(n @ 1_000_001..) = self.batch {
            return Err(Error::usage(format!("--batch {n} is not possible: give at most 1000000 images per step")));
        }
        if let HeadOption::Classes(n @ 1_000_001..) = self.head {
            return Err(Error::usage(format!("--classes {n} is not possible: give at most 1000000 classes")));
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
        super::strengths::check(self)?;
        regularizers::check(self)?;
        if self.head_map.is_some() && self.head == HeadOption::Keep {
            return Err(Error::usage("--head-map has no meaning without a new head (--classes N)"));
        }
        let Some(penalty) = penalty::find(&self.penalty)? else {
            let given = [
                ("--alpha", self.alpha.is_some() || !self.strengths.is_empty()),
                ("--beta", self.beta.is_some() && self.head == HeadOption::Keep),
                ("--alpha-depth", self.alpha_depth.is_some()),
                ("--sp-exclude", !self.sp_exclude.is_empty()),
                ("--fisher", self.fisher.is_some()),
                ("--prox", self.penalty_step == PenaltyStep::Proximal),
                ("--decoupled", self.penalty_step == PenaltyStep::Decoupled),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Error::usage(format!("{option} has no meaning with --penalty none")));
            }
            // What beside the shared parameters is new has its strength all the same, where anything is penalised at all.
            let penalized = self.head != HeadOption::Keep && (self.beta.is_some() || !self.regularizers.is_empty());
            let beta = self.beta.unwrap_or(penalty::ONLY_NEW.defaults().1);
            return Ok(penalized.then_some(Strength { penalty: penalty::ONLY_NEW, alpha: 0.0, beta }));
        };
        let kind = penalty.kind();
        match (self.penalty_step, penalty.without_prox()) {
            (PenaltyStep::Proximal, Some(why)) => return Err(Error::usage(format!("--penalty {kind} has no --prox: {why}"))),
            (PenaltyStep::Decoupled, _) if !penalty.is_quadratic() => {
                return Err(Error::usage(format!(
                    "--decoupled is for quadratic penalties, and {kind} is none: its gradient does not fade near the start. Take --prox, which returns weights exactly"
                )));
            }
            _ => {}
        }
        match (penalty.uses_fisher(), &self.fisher) {
            (true, None) => return Err(Error::usage(format!("--penalty {kind} needs --fisher FILE, which `spgraph fisher` makes"))),
            (false, Some(_)) => return Err(Error::usage(format!("--fisher has no meaning with --penalty {kind}, which does not read it"))),
            _ => {}
        }
        let (alpha, beta) = penalty.defaults();
        // Plain weight decay has one strength unless a second one is given.
        let beta = if penalty.uses_start() { beta } else { self.alpha.unwrap_or(beta) };
        Ok(Some(Strength { penalty, alpha: self.alpha.unwrap_or(alpha), beta: self.beta.unwrap_or(beta) }))
    }
}
