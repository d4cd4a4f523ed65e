//! `manifest.json`: what a runtime needs to know of a bundle (format 2).

use super::format1;
use super::meaning::{Measure, Setting, StateMeaning};
use super::options::Options;
pub use super::options::{BatchNormMode, PenaltyStep};
use super::prediction::PredictionPort;
pub use super::preprocessing::Preprocessing;
use super::rewriting::Rewriting;
use crate::error::{Error, Result};
use crate::ir::DType;
use crate::optim::Optimizer;
use crate::storage::seal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The version of the manifest that this crate writes. It reads format 1 as well.
pub const FORMAT: u32 = 2;

/// The most bytes of a tensor, and of all of the state: far more than any machine has, and far less than what overflows.
const MOST_BYTES: u64 = 1 << 44;

/// A bundle's ports, state and history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`]; manifests of format 1 have it after reading, too.
    pub format: u32,
    /// Version of spgraph that wrote the bundle.
    pub spgraph: String,
    /// The model that was rewritten.
    pub source: Source,
    /// The inputs that the loop feeds a batch through.
    pub data: DataPorts,
    /// Inputs of the step that the loop sets, with their defaults, as tensors of rank 0. `grad.onnx` and `apply.onnx` take those that they
    /// need under the same names.
    pub scalars: Vec<Scalar>,
    /// Scalar outputs of the step that are no state.
    pub outputs: Vec<Output>,
    /// Bundles with the two halves of a step: their scalar outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitOutputs>,
    /// Every state tensor, in the order of the step's inputs.
    pub state: Vec<State>,
    /// What holds the parameters near their starting point, or near 0.
    pub penalty: Penalty,
    /// Losses on what the network computes; their values are part of the output `penalty`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regularizers: Vec<Regularizer>,
    /// What turns gradients into next values.
    pub optimizer: Optimizer,
    /// How the step computes BatchNorm.
    pub batch_norm: BatchNormMode,
    /// Element type of weights and activations.
    pub precision: DType,
    /// Which of the network's outputs is the classifier's, and how to read it; none in bundles of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<PredictionPort>,
    /// Outputs of the source that exports have and the training does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// How many classes the network tells apart; none in bundles of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_count: Option<usize>,
    /// Class names by label, where they are known.
    #[serde(default)]
    pub classes: Vec<String>,
    /// What is done to an image before it enters the network.
    #[serde(default)]
    pub preprocessing: Preprocessing,
    /// How the bundle was made; none in bundles of format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewriting: Option<Rewriting>,
    /// The BLAKE3 hashes of the bundle's other files, by name; empty in bundles of older versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// The model that a bundle was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// File name, without folders.
    pub file: String,
    /// Of the file, in hexadecimal.
    pub sha256: String,
    /// The program that wrote it, as the file says.
    pub producer: String,
    /// The version of ONNX's own operators that it was written for.
    pub opset: i64,
}

/// Where a batch enters the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataPorts {
    /// The images.
    pub input: Port,
    /// Their labels, int64; a negative one does not count.
    pub target: Port,
}

/// A graph input. The batch dimension is -1 where it is symbolic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// Of the graph's input.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// From the batch dimension inwards.
    pub shape: Vec<i64>,
}

/// A scalar input with its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scalar {
    /// Of the graph's input.
    pub name: String,
    /// What the value does.
    pub meaning: Setting,
    /// What to feed where the user says nothing.
    pub default: f64,
}

/// A scalar output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// Of the graph's output.
    pub name: String,
    /// What the value is.
    pub meaning: Measure,
}

/// The scalar outputs of the two halves of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitOutputs {
    /// Of `grad.onnx`.
    pub grad: Vec<Output>,
    /// Of `apply.onnx`.
    pub apply: Vec<Output>,
}

/// The name of the output with that meaning.
pub fn output_of(outputs: &[Output], meaning: Measure) -> Option<&str> {
    outputs.iter().find(|o| o.meaning == meaning).map(|o| o.name.as_str())
}

/// What a state tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A parameter that has a starting point.
    Shared,
    /// A parameter of a replaced head.
    New,
    /// BatchNorm statistics.
    Buffer,
    /// Momenta and the like.
    Optimizer,
    /// A moving average of a parameter.
    Ema,
}

impl Role {
    /// Whether the network itself reads it: all but the optimizer's state and the averages.
    pub fn is_model(self) -> bool {
        !matches!(self, Role::Optimizer | Role::Ema)
    }
}

/// A tensor that a step reads and gives the next value of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The name in the source model, and in `init.onnx` and checkpoints.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The element type.
    pub dtype: DType,
    /// From the outermost dimension inwards.
    pub shape: Vec<usize>,
    /// Input of `step.onnx`, and of `eval.onnx` unless the role is `optimizer` or `ema`.
    pub input: String,
    /// Output of `step.onnx` with the next value.
    pub output: String,
    /// What a person would call it: `layer1.0.conv1.weight`.
    pub alias: String,
    /// Whether the penalty acts on it.
    #[serde(default)]
    pub penalized: bool,
    /// Weights: the axis along which the output channels lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_axis: Option<usize>,
    /// Factor on the learning rate.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub lr_mult: f64,
    /// The parameter that an average or optimizer state belongs to, by name; none for state that serves all parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// What it is, where that is no parameter's: the loss scale and its count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<StateMeaning>,
    /// Split bundles: the output of `grad.onnx` and input of `apply.onnx` with its gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient: Option<String>,
    /// Where the starting point is an input: its name in the graphs that read it, with the tensor's own type and shape. `init.onnx` has its first value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Where gradients are clipped, or the loss is scaled: the value in `step.onnx` with the squared norm of its gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_square: Option<String>,
    /// Trained parameters: the value in `step.onnx` that the optimizer takes for the gradient, of loss and penalty and clipped; none in bundles of older
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_gradient: Option<String>,
}

fn one() -> f64 {
    1.0
}

fn is_one(factor: &f64) -> bool {
    *factor == 1.0
}

/// The penalty of a bundle, as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Penalty {
    /// `none`, `l2`, `l2-sp`, …
    pub kind: String,
    /// Which parameters it acts on: `weights`, `all`, or patterns with spaces between.
    pub parameters: String,
    /// How it acts on them.
    #[serde(default, skip_serializing_if = "PenaltyStep::is_gradient")]
    pub step: PenaltyStep,
}

/// A loss on what the network computes, beside the data loss. Its strength is the scalar of the same name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regularizer {
    /// `delta`, `bss` or `lwf`.
    pub kind: String,
    /// `delta`: the layers whose output is compared, by the alias of their weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// `delta`: whether the channels have weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attention: bool,
    /// The settings that the kind has besides: `temperature` of `lwf`, `singular_values` of `bss`.
    #[serde(flatten)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Manifest {
    /// The state tensors that a finished run keeps: all but the optimizer's.
    pub fn kept_state(&self) -> impl Iterator<Item = &State> {
        self.state.iter().filter(|s| s.role != Role::Optimizer)
    }

    /// The state tensors whose starting point is an input, with its name.
    pub fn start_inputs(&self) -> impl Iterator<Item = (&State, &str)> {
        self.state.iter().filter_map(|s| Some((s, s.start.as_deref()?)))
    }

    /// Whether the classifier was replaced by a new one.
    pub fn has_new_head(&self) -> bool {
        self.state.iter().any(|s| s.role == Role::New)
    }

    /// The scalar input with that meaning, where the step has one.
    pub fn scalar(&self, meaning: &Setting) -> Option<&Scalar> {
        self.scalars.iter().find(|s| s.meaning == *meaning)
    }

    /// The name of the step's output with that meaning.
    pub fn output(&self, meaning: Measure) -> Result<&str> {
        output_of(&self.outputs, meaning)
            .ok_or_else(|| Error::model(format!("the bundle's step gives no {}: run `spgraph rewrite` again", meaning.name())))
    }

    /// The options with which the same bundle is made from `model` again. Fails where the manifest does not know them, and where the
    /// model or a file that they name is another one than it was.
    pub fn options_again(&self, model: &Path) -> Result<&Options> {
        let rewriting = self.rewriting.as_ref().ok_or_else(|| {
            Error::model("the manifest does not say with which options the bundle was made: it was written by an older spgraph")
        })?;
        rewriting.check(model, &self.source.sha256)?;
        Ok(&rewriting.options)
    }

    /// Whether sizes, names and numbers can be those of a bundle; what is wrong with them where not.
    fn check(&self) -> std::result::Result<(), String> {
        let (mut names, mut total) = (HashSet::new(), 0u64);
        for s in &self.state {
            let size = s.shape.iter().try_fold(s.dtype.size() as u64, |size, &d| size.checked_mul(d as u64)).filter(|&n| n <= MOST_BYTES);
            let size = size.ok_or_else(|| format!("`{}` has the impossible shape {:?}", s.name, s.shape))?;
            total = total.saturating_add(size);
            if !names.insert(s.name.as_str()) {
                return Err(format!("it has `{}` twice", s.name));
            }
            if s.channel_axis.is_some_and(|axis| axis >= s.shape.len()) {
                return Err(format!("the channels of `{}` are said to lie along an axis that it does not have", s.name));
            }
            if !s.lr_mult.is_finite() {
                return Err(format!("the learning rate of `{}` has no finite factor", s.name));
            }
        }
        if total > MOST_BYTES {
            return Err(format!("its state takes {total} bytes"));
        }
        for port in [&self.data.input, &self.data.target] {
            let sizes = port.shape.iter().map(|&d| if d == -1 { Some(1) } else { u64::try_from(d).ok().filter(|&n| n > 0) });
            let bytes = sizes.into_iter().try_fold(port.dtype.size() as u64, |size, d| size.checked_mul(d?)).filter(|&n| n <= MOST_BYTES);
            if bytes.is_none() || port.shape.is_empty() {
                return Err(format!("`{}` has the impossible shape {:?}", port.name, port.shape));
            }
        }
        if self.class_count.is_some_and(|n| n as u64 > MOST_BYTES) {
            return Err("it has an impossible number of classes".into());
        }
        match self.scalars.iter().find(|s| !s.default.is_finite()) {
            Some(s) => Err(format!("`{}` has no finite default", s.name)),
            None => Ok(()),
        }
    }

    /// Reads `manifest.json` of a bundle or run folder.
    pub fn read(path: &Path) -> Result<Manifest> {
        let damaged = |why: String| {
            Error::model(format!("{} is no spgraph manifest: {why}. Run `spgraph rewrite` again to make a new bundle", path.display()))
        };
        let seal::Opened { mut value, text, .. } = seal::read_json(path, "cannot read the manifest", damaged)?;
        let format = value.get("format").and_then(|f| f.as_u64());
        match format {
            Some(1) => format1::upgrade(&mut value),
            Some(found) if found != FORMAT as u64 => {
                return Err(Error::model(format!(
                    "{} has manifest format {found}, this spgraph reads formats 1 and {FORMAT}. Run `spgraph rewrite` again with this version",
                    path.display()
                )));
            }
            _ => {}
        }
        let manifest = if format == Some(1) { serde_json::from_value(value) } else { serde_json::from_str(&text) };
        let manifest: Manifest = manifest.map_err(|e| damaged(e.to_string()))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }
}
