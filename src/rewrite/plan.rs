//! What becomes of each parameter: shared or new, trainable or frozen, penalised or not.

use super::head::Head;
use super::prediction::Prediction;
use crate::bundle::Setting;
use crate::bundle::manifest::{BatchNormMode, Role};
use crate::error::Refusal;
use crate::import::{FixedConstant, Parameter, Split};
use crate::loss::DataLoss;
use crate::operator::ParameterKind;
use std::collections::HashSet;
use std::fmt;

/// The strength of the penalty on one parameter: the value of a scalar input times a constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Strength {
    /// The scalar input.
    pub setting: Setting,
    /// What the scalar's value is multiplied with.
    pub factor: f64,
}

/// One parameter of the source model and its part in the training.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its place in the imported graph.
    pub parameter: Parameter,
    /// In the training: that of a new head where it gets one.
    pub shape: Vec<usize>,
    /// Whether it has a starting point, or is part of a new head.
    pub role: Role,
    /// Whether it stays as it is, as a constant.
    pub frozen: bool,
    /// Why it is frozen; empty where it is not.
    pub why_frozen: String,
    /// None where the penalty does not act on it.
    pub strength: Option<Strength>,
    /// Why the penalty acts on it, or not; empty without a penalty.
    pub why_penalized: String,
}

/// A Dropout of the source, or a product with a random mask that is one.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundDropout {
    /// Its node.
    pub node: String,
    /// How much it drops; `None` where that is computed while the model runs.
    pub ratio: Option<f32>,
    /// Along which axes what it drops differs, where that is not along all of them: whole channels, whole images.
    pub axes: Option<Vec<usize>>,
}

/// An output of the source that is no part of the training.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOutput {
    /// Its name.
    pub output: String,
    /// The first node before it that speaks against it.
    pub refusal: Refusal,
    /// Whether that node is known: it holds something of the old classes.
    pub known: bool,
    /// Whether exports have it. They have none that is computed from a classifier that was replaced: it may hold the old one's classes.
    pub kept: bool,
}

impl fmt::Display for LeftOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOutput { output, refusal, .. } = self;
        match self.known {
            true => write!(f, "{output}, behind {refusal}"),
            // The way out is for who needs it.
            false => write!(f, "{output}, behind {} (node `{}`), which spgraph does not know", refusal.op, refusal.node),
        }
    }
}

/// The roles of all parameters.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order of use.
    pub parameters: Vec<Planned>,
    /// Constants that are taken for no parameters, in the order of use.
    pub fixed: Vec<FixedConstant>,
    /// How the step computes BatchNorm.
    pub batch_norm: BatchNormMode,
    /// Every Dropout of the network, in its order.
    pub dropout: Vec<FoundDropout>,
    /// The classifier; `None` where no layer looks like one.
    pub head: Option<Head>,
    /// What enters a classifier that was put behind features, where that is made of an output of the file, for people.
    pub pooled: Option<String>,
    /// The output that is trained, in the graph for inference.
    pub prediction: Prediction,
    /// The network's other outputs, by name.
    pub others: Vec<String>,
    /// Outputs of the source that spgraph leaves out.
    pub left_out: Vec<LeftOutput>,
    /// The loss on it.
    pub loss: &'static dyn DataLoss,
    /// Classes that it tells apart, after the rewriting.
    pub classes: usize,
    /// Names of the scales of frozen BatchNorms: these use moving statistics.
    pub frozen_norms: HashSet<String>,
    /// Parameters that had shared an initializer.
    pub split: Vec<Split>,
    /// Pairs of weights that hold the same numbers, or each other's transpose, and are trained apart.
    pub alike: Vec<(String, String)>,
    /// Nodes into whose shapes the exporter had written the batch, which was taken for what it is.
    pub freed_batch: Vec<String>,
}

impl Plan {
    /// The axis along which the output channels of the weight of that name lie; `None` for what is no weight.
    pub fn channel_axis(&self, name: &str) -> Option<usize> {
        match self.parameters.iter().find(|p| p.parameter.name == name)?.parameter.kind {
            ParameterKind::Kernel { axis } => Some(axis),
            _ => None,
        }
    }
}
