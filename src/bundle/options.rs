//! What a user can ask of the rewriting, and its defaults: plain data, the same in the library, in a file, and in the manifest's record of how a
//! bundle was made. What it means, and whether it makes sense, `rewrite` finds out.

use super::dropout::DropoutMode;
use super::preprocessing::Images;
use crate::emit::{Dialect, Form, OPSETS, Runtime, find_runtime};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::BatchSize;
use crate::ir::DType;
use crate::kinds::named;
use crate::loss::Regularizer;
use crate::operator::OPSET;
use crate::optim::Optimizer;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What becomes of the classifier.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadOption {
    /// It stays, and is trained.
    #[default]
    Keep,
    /// A new one for so many classes, freshly initialised.
    Classes(usize),
}

/// Which penalty acts on parameters with a starting point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum PenaltyOption {
    /// `usual`: `l2-sp`, or none beside regularizers.
    #[default]
    Usual,
    /// `none`.
    None,
    /// `l2`, `l2-sp`, …
    Kind(String),
}

impl From<&str> for PenaltyOption {
    fn from(text: &str) -> Self {
        match text {
            "usual" => PenaltyOption::Usual,
            "none" => PenaltyOption::None,
            kind => PenaltyOption::Kind(kind.into()),
        }
    }
}

impl From<String> for PenaltyOption {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<PenaltyOption> for String {
    fn from(option: PenaltyOption) -> Self {
        match option {
            PenaltyOption::Usual => "usual".into(),
            PenaltyOption::None => "none".into(),
            PenaltyOption::Kind(kind) => kind,
        }
    }
}

/// Which parameters the penalty acts on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PenaltyStep {
    /// Its gradient is added to the data loss's.
    #[default]
    Gradient,
    /// The proximal step with `lr·α` after the optimizer's step on the data loss. New parameters keep the gradient.
    Proximal,
    /// `w ← w − lr·∇Ω(w)` beside the optimizer, also on new parameters: quadratic penalties only.
    Decoupled,
}

impl PenaltyStep {
    /// Whether it is the usual one.
    pub fn is_gradient(&self) -> bool {
        *self == PenaltyStep::Gradient
    }
}

/// What BatchNorm normalizes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchNormMode {
    /// The network has none, or it is folded into the convolutions.
    None,
    /// Batch statistics; running statistics are state.
    Train,
    /// Moving statistics.
    Frozen,
}

/// How the starting point enters a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartForm {
    /// As constants.
    #[default]
    Constant,
    /// As inputs, so that another one can be given in every step: a server's weights, a moving anchor.
    Input,
}

impl StartForm {
    /// Whether it is the usual one.
    pub fn is_constant(&self) -> bool {
        *self == StartForm::Constant
    }
}

named! {
    /// In which precision a step computes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    GraphPrecision {
        /// In that of the weights.
        #[default]
        Float32 = "float32",
        /// Products, and images between them, in float16. Weights, sums, losses and updates stay float32; the loss is scaled.
        MixedF16 = "mixed-f16",
        /// The same in bfloat16, without a scale.
        MixedBf16 = "mixed-bf16",
        /// As [`GraphPrecision::MixedF16`], on float32 tensors whose numbers are rounded to float16 in the same places: for runtimes that lack the type, or leave
        /// roundings out. Slower than float32.
        RoundedF16 = "rounded-f16",
        /// The same with bfloat16.
        RoundedBf16 = "rounded-bf16",
    }
}

impl GraphPrecision {
    /// The type of 16 bits that numbers are rounded to.
    pub fn half(self) -> Option<DType> {
        match self {
            GraphPrecision::Float32 => None,
            GraphPrecision::MixedF16 | GraphPrecision::RoundedF16 => Some(DType::F16),
            GraphPrecision::MixedBf16 | GraphPrecision::RoundedBf16 => Some(DType::BF16),
        }
    }

    /// Whether tensors stay float32 with rounded numbers.
    pub fn is_rounded(self) -> bool {
        matches!(self, GraphPrecision::RoundedF16 | GraphPrecision::RoundedBf16)
    }

    /// Whether gradients are so small for the type that the loss is scaled.
    pub fn scales_loss(self) -> bool {
        self.half() == Some(DType::F16)
    }

    /// Whether it is the usual one.
    pub fn is_float32(&self) -> bool {
        *self == GraphPrecision::Float32
    }

    /// The first opset whose operators have the type.
    fn opset(self) -> i64 {
        if self == GraphPrecision::MixedBf16 { BFLOAT16_OPSET } else { *OPSETS.start() }
    }
}

/// The first opset in which convolutions and pooling take bfloat16.
const BFLOAT16_OPSET: i64 = 22;

/// A number for the parameters that a glob pattern matches, by name or alias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByPattern {
    /// With `*` and `?`.
    pub pattern: String,
    /// The number for what it matches.
    pub value: f64,
}

/// Options of [`crate::rewrite::rewrite`]; the defaults are what the command line uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Which penalty the loss gets.
    pub penalty: PenaltyOption,
    /// Strength on shared parameters; `None`: the penalty's default.
    pub alpha: Option<f64>,
    /// Strength on new parameters; `None`: the penalty's default, for `l2` the given `alpha`.
    pub beta: Option<f64>,
    /// Which shared parameters the penalty acts on.
    pub penalize: Penalize,
    /// Patterns of parameters that the penalty leaves out.
    pub sp_exclude: Vec<String>,
    /// Patterns with an α of their own; of several that match the last one counts.
    pub strengths: Vec<ByPattern>,
    /// α of the first layer as a multiple of α of the last one, geometric between; not for `strengths`.
    pub alpha_depth: Option<f64>,
    /// Whether the penalty is part of the gradient or a step of its own.
    pub penalty_step: PenaltyStep,
    /// The file of `spgraph fisher`, for the penalties that read it.
    #[serde(with = "crate::storage::path_text")]
    pub fisher: Option<PathBuf>,
    /// Losses on what the network computes, beside the penalty on its parameters.
    pub regularizers: Vec<Regularizer>,
    /// What becomes of the classifier.
    pub head: HeadOption,
    /// The new head is put behind the features that the network ends with, instead of in the place of a head.
    pub add_head: bool,
    /// Text file that says which classes of a new head start as copies of which of the old.
    #[serde(with = "crate::storage::path_text")]
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
    /// What becomes of Dropout.
    pub dropout: DropoutMode,
    /// The batch size that the graphs are made for.
    pub batch: BatchSize,
    /// Default learning rate of the bundle; `None`: the optimizer's.
    pub lr: Option<f64>,
    /// What turns gradients into next values.
    pub optimizer: Optimizer,
    /// Factors on the learning rate; of several patterns that match, the last counts.
    pub lr_mult: Vec<ByPattern>,
    /// The output whose scores are trained, by name; `None`: the one that is clearly the classifier's.
    pub prediction: Option<String>,
    /// `cross-entropy`, `bce` or `mse`; `None`: what fits the network's last activation.
    pub loss: Option<String>,
    /// ε, from 0 to below 1: so much of each target is spread evenly over all classes.
    pub label_smoothing: f64,
    /// Whether the target is a number for every score instead of a label: what mixed images, and images with several labels, need.
    pub soft_targets: bool,
    /// Sizes after the batch dimension, where the model leaves them open.
    pub input_shape: Option<Vec<usize>>,
    /// Weights in `weights.bin`, always above 1 GiB.
    pub external_data: bool,
    /// Also write `grad.onnx` and `apply.onnx`.
    pub split: bool,
    /// How functions of spgraph's own domain are written.
    pub dialect: Dialect,
    /// The runtime that the graphs are for: one that lacks an operator is refused.
    pub runtime: Option<String>,
    /// The opset of the graphs; `None`: that of the runtime, or spgraph's own.
    pub opset: Option<i64>,
    /// In which precision the step computes.
    pub precision: GraphPrecision,
    /// How the starting point enters the step.
    pub start: StartForm,
    /// Whether parameters that the exporter had merged, since their values were equal, stay one.
    pub keep_ties: bool,
    /// Seed of a new head's weights, and of dropout's masks.
    pub seed: u64,
    /// Class names by label.
    pub classes: Vec<String>,
    /// How the network wants images; what is not said is as the model says, or ImageNet's, with the network's input size.
    pub preprocessing: Option<Images>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            penalty: PenaltyOption::Usual,
            alpha: None,
            beta: None,
            penalize: Penalize::Weights,
            sp_exclude: vec![],
            strengths: vec![],
            alpha_depth: None,
            penalty_step: PenaltyStep::Gradient,
            fisher: None,
            regularizers: vec![],
            head: HeadOption::Keep,
            add_head: false,
            head_map: None,
            freeze: vec![],
            freeze_stages: 0,
            freeze_units: 0,
            train: vec![],
            batch_norm: None,
            dropout: DropoutMode::Off,
            batch: BatchSize::Fixed(32),
            lr: None,
            optimizer: Optimizer::default(),
            lr_mult: vec![],
            prediction: None,
            loss: None,
            label_smoothing: 0.0,
            soft_targets: false,
            input_shape: None,
            external_data: false,
            split: false,
            dialect: Dialect::Functions,
            runtime: None,
            opset: None,
            precision: GraphPrecision::Float32,
            start: StartForm::Constant,
            keep_ties: false,
            seed: 0,
            classes: vec![],
            preprocessing: None,
        }
    }
}

impl Options {
    /// In which words the graphs are written. Fails where there are none: an opset that spgraph doesn't write, or the runtime doesn't read.
    pub fn form(&self) -> Result<Form> {
        let runtime = self.runtime.as_deref().map(find_runtime).transpose()?;
        let least = self.precision.opset();
        let opset = self.opset.unwrap_or_else(|| runtime.map_or(OPSET, Runtime::opset).max(least));
        if !OPSETS.contains(&opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(Error::option(Field::OPSET, format!(" {opset} is none that is written: take one from {first} to {last}")));
        }
        runtime.map_or(Ok(()), |runtime| runtime.check_opset(opset))?;
        if let (Some(runtime), Some(half)) = (runtime, self.precision.half()) {
            let why = runtime.check_half(half, self.precision.is_rounded());
            why.map_err(|why| {
                Error::option(Field::MIXED_PRECISION, format!(" {}: {why}, or make the bundle for another runtime", self.precision.name()))
            })?;
        }
        if opset < least {
            let why = format!(" {opset} has no convolutions of bfloat16, which {} {} needs", Field::MIXED_PRECISION, self.precision.name());
            return Err(Error::option(Field::OPSET, format!("{why}: take {least} or more")));
        }
        Ok(Form { dialect: self.dialect, opset, runtime })
    }

    /// The files that the rewriting reads besides the model, to be named otherwise.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let attention = self.regularizers.iter_mut().filter_map(|r| match r {
            Regularizer::Delta(delta) => delta.attention.as_mut(),
            _ => None,
        });
        [&mut self.fisher, &mut self.head_map].into_iter().filter_map(|f| f.as_mut()).chain(attention)
    }

    /// The files that the rewriting reads besides the model.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let attention = self.regularizers.iter().filter_map(|r| match r.reads() {
            crate::loss::Reads::FeatureMaps { attention, .. } => attention,
            _ => None,
        });
        [&self.fisher, &self.head_map].into_iter().filter_map(|f| f.as_deref()).chain(attention)
    }
}
