//! Optimizers: from a parameter, its gradient and the optimizer's own state to their next values. Each update rule is one file, and
//! so is each thing that can be added to any of them: clipping before the rule, a projection and an average after it.

pub(crate) mod adamw;
pub(crate) mod clip;
pub(crate) mod ema;
pub(crate) mod lars;
pub(crate) mod sgd;
pub(crate) mod spd;

pub use adamw::AdamW;
pub use clip::coefficient;
pub use ema::average;
pub use lars::Lars;
pub use sgd::Sgd;
pub use spd::project;

use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::ValueId;
use crate::operator::{Builder, Rule};
use crate::ops::blocks::Expr;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is done with the gradients. The manifest holds it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Optimizer {
    /// How parameters follow their gradients.
    #[serde(flatten)]
    pub rule: UpdateRule,
    /// Gradients are scaled down where their global norm is above this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// λ of Selective Projection Decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spd: Option<f64>,
    /// The decay of an exponential moving average of the weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
}

/// What an optimizer is read from: the rule's settings are what the other fields leave over, so that an unknown one is noticed.
#[derive(Deserialize)]
struct Fields {
    clip_norm: Option<f64>,
    spd: Option<f64>,
    ema: Option<f64>,
    #[serde(flatten)]
    rule: serde_json::Map<String, serde_json::Value>,
}

impl TryFrom<Fields> for Optimizer {
    type Error = serde_json::Error;

    fn try_from(fields: Fields) -> Result<Self, serde_json::Error> {
        let Fields { clip_norm, spd, ema, rule } = fields;
        Ok(Optimizer { rule: serde_json::from_value(rule.into())?, clip_norm, spd, ema })
    }
}

/// How a parameter follows its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum UpdateRule {
    /// Stochastic gradient descent.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// Layer-wise adaptive rates.
    Lars(Lars),
}

/// What an update rule gets for one parameter.
pub struct Update<'a> {
    /// The parameter.
    pub w: ValueId,
    /// Of data loss and penalty together, after clipping.
    pub gradient: ValueId,
    /// The learning rate; like `shared` it has as many axes as `w`, all of length 1.
    pub lr: ValueId,
    /// The values that [`UpdateRule::advance`] computed for this step.
    pub shared: &'a [ValueId],
    /// The parameter's own state, in the order of [`UpdateRule::state`].
    pub state: &'a [ValueId],
}

/// Scalars of one step.
#[derive(Default)]
pub struct Advanced {
    /// The next values of [`UpdateRule::scalar_state`].
    pub next: Vec<ValueId>,
    /// What the updates of all parameters read.
    pub shared: Vec<ValueId>,
}

impl UpdateRule {
    /// The kinds on the command line and in the manifest.
    pub const KINDS: [&'static str; 3] = ["sgd", "adamw", "lars"];

    /// The name on the command line and in the manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            UpdateRule::Sgd(_) => "sgd",
            UpdateRule::AdamW(_) => "adamw",
            UpdateRule::Lars(_) => "lars",
        }
    }

    /// The rule of that kind with its usual settings.
    pub fn usual(kind: &str) -> Result<UpdateRule> {
        let all = [UpdateRule::Sgd(Sgd::default()), UpdateRule::AdamW(AdamW::default()), UpdateRule::Lars(Lars::default())];
        all.into_iter()
            .find(|rule| rule.kind() == kind)
            .ok_or_else(|| Error::usage(format!("there is no optimizer `{kind}`; choose one of {}", UpdateRule::KINDS.join(", "))))
    }

    /// Fails where the settings make no sense.
    pub fn check(&self) -> Result<()> {
        match self {
            UpdateRule::Sgd(rule) => rule.check(),
            UpdateRule::AdamW(rule) => rule.check(),
            UpdateRule::Lars(rule) => rule.check(),
        }
    }

    /// A learning rate to begin with.
    pub fn default_lr(&self) -> f64 {
        match self {
            UpdateRule::Sgd(_) => Sgd::LR,
            UpdateRule::AdamW(_) => AdamW::LR,
            UpdateRule::Lars(_) => Lars::LR,
        }
    }

    /// Names of the state tensors per parameter, each of the parameter's shape and zero at the start.
    pub fn state(&self) -> &'static [&'static str] {
        match self {
            UpdateRule::Sgd(rule) => rule.state(),
            UpdateRule::AdamW(_) => AdamW::STATE,
            UpdateRule::Lars(_) => Lars::STATE,
        }
    }

    /// Names of the state that all parameters have in common: tensors of rank 0, zero at the start.
    pub fn scalar_state(&self) -> &'static [&'static str] {
        match self {
            UpdateRule::AdamW(_) => AdamW::SCALAR_STATE,
            UpdateRule::Sgd(_) | UpdateRule::Lars(_) => &[],
        }
    }

    /// Moves the state that all parameters have in common to the step.
    pub fn advance(&self, b: &mut Builder, state: &[ValueId]) -> Rule<Advanced> {
        match self {
            UpdateRule::AdamW(rule) => rule.advance(b, state),
            UpdateRule::Sgd(_) | UpdateRule::Lars(_) => Ok(Advanced::default()),
        }
    }

    /// Next value of the parameter, then those of its state.
    pub fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>> {
        match self {
            UpdateRule::Sgd(rule) => rule.update(b, u),
            UpdateRule::AdamW(rule) => rule.update(b, u),
            UpdateRule::Lars(rule) => rule.update(b, u),
        }
    }
}

impl fmt::Display for UpdateRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateRule::Sgd(rule) => rule.fmt(f),
            UpdateRule::AdamW(rule) => rule.fmt(f),
            UpdateRule::Lars(rule) => rule.fmt(f),
        }
    }
}

impl From<UpdateRule> for Optimizer {
    fn from(rule: UpdateRule) -> Self {
        Optimizer { rule, clip_norm: None, spd: None, ema: None }
    }
}

impl Default for Optimizer {
    /// SGD with momentum, as in the paper.
    fn default() -> Self {
        UpdateRule::Sgd(Sgd::default()).into()
    }
}

impl Optimizer {
    /// Fails where the settings make no sense.
    pub fn check(&self) -> Result<()> {
        self.rule.check()?;
        if let Some(norm) = self.clip_norm.filter(|n| !(n.is_finite() && *n > 0.0)) {
            return Err(Error::option(Field::CLIP_NORM, format!(" {norm} is no positive number")));
        }
        if let Some(lambda) = self.spd.filter(|l| !(l.is_finite() && *l > 0.0)) {
            return Err(Error::option(Field::SPD, format!(" {lambda} is no positive number; 1 is a good start")));
        }
        if let Some(decay) = self.ema {
            below_one(Field::EMA, decay)?;
        }
        Ok(())
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)?;
        for (name, value) in [("clip norm", self.clip_norm), ("spd", self.spd), ("ema", self.ema)] {
            if let Some(value) = value {
                write!(f, ", {name} {value}")?;
            }
        }
        Ok(())
    }
}

/// Fails for a share that is not in 0…1, without 1.
fn below_one(option: Field, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) { Ok(()) } else { Err(Error::option(option, format!(" {value} is not at least 0 and below 1"))) }
}

/// `x + share·(to − x)`: the moving average that keeps `1 − share` of `x`. Unlike `(1 − share)·x + share·to` it needs one constant,
/// so that rounding it in float32 changes how fast the average follows, not where it ends.
fn toward<'f>(x: Expr<'f>, to: Expr<'f>, share: f64) -> Expr<'f> {
    x + (to - x) * share
}

/// The Euclidean norm over all elements, a scalar.
fn norm(a: Expr<'_>) -> Expr<'_> {
    a.sum_square().sqrt()
}
