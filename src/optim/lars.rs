//! LARS, layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv 1708.03888, algorithm 1):
//!
//! ```text
//! r ← η·‖w‖ / ‖g‖                  1 where one of the norms is 0, and for biases and BatchNorm's scale and shift (one axis)
//! v ← μ·v + lr·r·g
//! w ← w − v
//! ```
//!
//! The norms are over a whole tensor. `g` is the gradient of data loss and penalty together. In the paper, which knows weight decay β
//! and nothing else, the denominator is `‖∇L‖ + β·‖w‖`; here, as in most implementations (MoCo v3's, say), it is the norm of the sum.
//! Without a penalty the two are the same. The exceptions for one axis and norms of 0 are MoCo v3's too. As in the paper the momentum
//! holds steps (`lr` is inside v), so a change of the learning rate does not rescale what it remembers.
//!
//! State: `momentum` (v), 0 at the start.

use super::{Follow, Update, below_one, norm};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::{Expr, formula};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `(w, gradient, lr, velocity) → next w, next velocity`.
pub const UPDATE: Function = Function::new("LarsUpdate");

/// The rule with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lars {
    /// μ
    pub momentum: f64,
    /// η: with `lr` 1, the share of its norm that a weight moves in a step.
    pub trust: f64,
}

impl Default for Lars {
    fn default() -> Self {
        Lars { momentum: 0.9, trust: 1e-3 }
    }
}

impl Lars {
    /// r, a scalar.
    fn ratio<'f>(&self, w: Expr<'f>, g: Expr<'f>) -> Expr<'f> {
        let (w, g) = (norm(w), norm(g));
        let (zero, one) = (w.number(0.0), w.number(1.0));
        let (has_w, has_g) = (w.greater(zero), g.greater(zero));
        let both = has_w.and(has_g);
        let safe = has_g.choose(g, one);
        both.choose(w * self.trust / safe, one)
    }
}

impl Follow for Lars {
    fn check(&self) -> Result<()> {
        below_one(Field::MOMENTUM, self.momentum)?;
        if !(self.trust.is_finite() && self.trust > 0.0) {
            return Err(Error::option(Field::TRUST, format!(" {} is no positive number", self.trust)));
        }
        Ok(())
    }

    fn default_lr(&self) -> f64 {
        1.0
    }

    fn state(&self) -> &'static [&'static str] {
        &["momentum"]
    }

    fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>> {
        let attributes = Attrs::from([
            ("momentum".to_string(), Attr::Float(self.momentum as f32)),
            ("trust".to_string(), Attr::Float(self.trust as f32)),
        ]);
        let &[velocity] = u.state else { return Err("LARS has one velocity".into()) };
        let many = b.rank(u.w) > 1;
        let rule = formula(|[w, g, lr, v]| {
            let rate = if many { lr * self.ratio(w, g).reshape_like(lr) } else { lr };
            let step = g * rate;
            let v = v * self.momentum + step;
            [w - v, v]
        });
        Ok(b.call(&UPDATE, [u.w, u.gradient, u.lr, velocity], attributes, rule)?.to_vec())
    }
}

impl fmt::Display for Lars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lars, momentum {}, trust {}", self.momentum, self.trust)
    }
}
