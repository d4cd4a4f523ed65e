//! Stochastic gradient descent with momentum, in PyTorch's convention (`torch.optim.SGD` without dampening):
//!
//! ```text
//! v ← μ·v + g
//! w ← w − lr·v            or, with Nesterov's variant,  w ← w − lr·(g + μ·v)
//! ```
//!
//! State: `momentum` (v), 0 at the start; none with μ = 0.

use super::{Follow, Update, below_one};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `(w, gradient, lr, velocity where there is momentum) → next w, next velocity`.
pub const UPDATE: Function = Function::new("SgdUpdate");

/// The rule with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// μ; 0 needs no state.
    pub momentum: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { momentum: 0.9, nesterov: false }
    }
}

impl Follow for Sgd {
    fn check(&self) -> Result<()> {
        below_one(Field::MOMENTUM, self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::option(Field::NESTEROV, format!(" needs a {} above 0", Field::MOMENTUM)));
        }
        Ok(())
    }

    fn default_lr(&self) -> f64 {
        0.01
    }

    fn state(&self) -> &'static [&'static str] {
        if self.momentum > 0.0 { &["momentum"] } else { &[] }
    }

    fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>> {
        let attributes = Attrs::from([
            ("momentum".to_string(), Attr::Float(self.momentum as f32)),
            ("nesterov".to_string(), Attr::Int(self.nesterov as i64)),
        ]);
        match *u.state {
            [] => {
                let rule = formula(|[w, g, lr]| [w - g * lr]);
                Ok(b.call(&UPDATE, [u.w, u.gradient, u.lr], attributes, rule)?.to_vec())
            }
            [velocity] => {
                let rule = formula(|[w, g, lr, v]| {
                    let v = v * self.momentum + g;
                    let direction = if self.nesterov { g + v * self.momentum } else { v };
                    [w - direction * lr, v]
                });
                Ok(b.call(&UPDATE, [u.w, u.gradient, u.lr, velocity], attributes, rule)?.to_vec())
            }
            _ => Err("SGD has one velocity at most".into()),
        }
    }
}

impl fmt::Display for Sgd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sgd, momentum {}{}", self.momentum, if self.nesterov { ", nesterov" } else { "" })
    }
}
