//! Optimizers: from a parameter, its gradient and the optimizer's own state to their next values. Each update rule is one file, and
//! so is each thing that can be added to any of them: clipping before the rule, a projection and an average after it.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

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
use crate::kinds::kinds;
use crate::nearest::hint;
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
    pub clip_norm: Option<f64>,
    /// λ of Selective Projection Decay.
    pub spd: Option<f64>,
    /// The decay of an exponential moving average of the weights.
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

/// What an update rule gets for one parameter.
pub struct Update<'a> {
    /// The parameter.
    pub w: ValueId,
    /// Of data loss and penalty together, after clipping.
    pub gradient: ValueId,
    /// The learning rate; like `shared` it has as many axes as `w`, all of length 1.
    pub lr: ValueId,
    /// The values that [`Follow::advance`] computed for this step.
    pub shared: &'a [ValueId],
    /// The parameter's own state, in the order of [`Follow::state`].
    pub state: &'a [ValueId],
}

/// Scalars of one step.
#[derive(Default)]
pub struct Advanced {
    /// The next values of [`Follow::scalar_state`].
    pub next: Vec<ValueId>,
    /// What the updates of all parameters read.
    pub shared: Vec<ValueId>,
}

/// How a parameter follows its gradient: a struct with the rule's settings. `Display` is its line in reports.
pub trait Follow: fmt::Display {
    /// Fails where the settings make no sense.
    fn check(&self) -> Result<()>;

    /// A learning rate to begin with.
    fn default_lr(&self) -> f64;

    /// Names of the state tensors per parameter, each of the parameter's shape and zero at the start.
    fn state(&self) -> &'static [&'static str];

    /// Names of the state that all parameters have in common: tensors of rank 0, zero at the start.
    fn scalar_state(&self) -> &'static [&'static str] {
        &[]
    }

    /// Moves the state that all parameters have in common to the step.
    fn advance(&self, _: &mut Builder, _state: &[ValueId]) -> Rule<Advanced> {
        Ok(Advanced::default())
    }

    /// Next value of the parameter, then those of its state.
    fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>>;
}

kinds! {
    /// An update rule with its settings.
    #[derive(Copy)]
    UpdateRule: Follow;
    /// Every update rule, with its usual settings.
    RULES = [
        /// Stochastic gradient descent.
        "sgd" => Sgd,
        /// Adam with decoupled weight decay.
        "adamw" => AdamW,
        /// Layer-wise adaptive rates.
        "lars" => Lars,
    ];
}

/// The rule of that name with its usual settings.
pub fn find(kind: &str) -> Result<UpdateRule> {
    RULES.iter().map(|usual| usual()).find(|rule| rule.kind() == kind).ok_or_else(|| {
        let (names, meant) = (UpdateRule::KINDS.join(", "), hint(kind, UpdateRule::KINDS));
        Error::usage(format!("there is no optimizer `{kind}`; choose one of {names}{meant}"))
    })
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
