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

use super::{Update, below_one, norm};
use crate::error::{Error, Result};
use crate::ir::{Attr, Attrs, DType, ValueId};
use crate::operator::{Builder, Function, Rule};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `(w, gradient, lr, velocity) → next w, next velocity`.
pub const UPDATE: Function = Function::new("LarsUpdate");

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    pub(super) const LR: f64 = 1.0;
    pub(super) const STATE: &'static [&'static str] = &["momentum"];

    pub(super) fn check(&self) -> Result<()> {
        below_one("--momentum", self.momentum)?;
        if !(self.trust.is_finite() && self.trust > 0.0) {
            return Err(Error::usage(format!("--trust {} is no positive number", self.trust)));
        }
        Ok(())
    }

    pub(super) fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>> {
        let attributes = Attrs::from([
            ("momentum".to_string(), Attr::Float(self.momentum as f32)),
            ("trust".to_string(), Attr::Float(self.trust as f32)),
        ]);
        let inputs: Vec<ValueId> = [u.w, u.gradient, u.lr].iter().chain(u.state).copied().collect();
        b.call(&UPDATE, &inputs, attributes, |b, i| {
            let [w, g, lr, v] = i[..] else { return Err("LARS needs four inputs".into()) };
            let rate = if b.rank(w) > 1 {
                let ratio = self.ratio(b, w, g)?;
                let shape = b.shape(lr).to_vec();
                let ratio = b.reshape(ratio, &shape)?;
                b.mul(lr, ratio)?
            } else {
                lr
            };
            let step = b.mul(g, rate)?;
            let mu = b.number(self.momentum, v);
            let kept = b.mul(v, mu)?;
            let v = b.add(kept, step)?;
            Ok(vec![b.sub(w, v)?, v])
        })
    }

    /// r, a scalar.
    fn ratio(&self, b: &mut Builder, w: ValueId, g: ValueId) -> Rule<ValueId> {
        let (w, g) = (norm(b, w)?, norm(b, g)?);
        let (zero, one) = (b.number(0.0, w), b.number(1.0, w));
        let has_w = b.op("Greater", &[w, zero], Attrs::new())?;
        let has_g = b.op("Greater", &[g, zero], Attrs::new())?;
        let both = b.op("And", &[has_w, has_g], Attrs::new())?;
        debug_assert_eq!(b.dtype(both), DType::Bool);
        let safe = b.op("Where", &[has_g, g, one], Attrs::new())?;
        let trust = b.number(self.trust, w);
        let ratio = b.mul(w, trust)?;
        let ratio = b.div(ratio, safe)?;
        b.op("Where", &[both, ratio, one], Attrs::new())
    }
}

impl fmt::Display for Lars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lars, momentum {}, trust {}", self.momentum, self.trust)
    }
}
