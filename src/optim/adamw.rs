//! AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101), as `torch.optim.AdamW` computes it:
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g        c₁ = 1 − β₁ᵗ
//! v ← β₂·v + (1 − β₂)·g²       c₂ = 1 − β₂ᵗ        (t counts from 1)
//! w ← (1 − lr·λ)·w − lr · (m / c₁) / (√(v / c₂) + ε)
//! ```
//!
//! λ, the decoupled weight decay, is 0 unless asked for: decay is the penalty's work. As in PyTorch it acts on every parameter.
//!
//! State: `exp_avg` (m) and `exp_avg_sq` (v) of each parameter, 0 at the start, and two numbers for all of them together:
//! `optimizer.correction1` (c₁) and `optimizer.correction2` (c₂). These stand in for the step count t. They are moving averages
//! of 1 with the decays of m and v, `c ← c + (1 − β)·(1 − c)` from 0, so they divide exactly what m and v lack, in any precision:
//! in float32 `1 − 0.999ᵗ` from a count would be wrong in its fifth digit.
//!
//! In the graph the fraction is extended by `√c₂`, which saves a pass over the parameter: `lr·√c₂/c₁ · m / (√v + ε·√c₂)`.

use super::{Advanced, Follow, Update, below_one, toward};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `(c₁, c₂) → next c₁, next c₂, √(next c₂)`.
pub const CORRECTIONS: Function = Function::new("AdamWCorrections");

/// `(w, gradient, lr, c₁, √c₂, m, v) → next w, next m, next v`.
pub const UPDATE: Function = Function::new("AdamWUpdate");

/// The rule with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// β₁: how much of the mean of gradients stays.
    pub beta1: f64,
    /// β₂: how much of the mean of their squares stays.
    pub beta2: f64,
    /// ε
    pub eps: f64,
    /// λ
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

impl AdamW {
    fn attributes(&self) -> Attrs {
        let values = [("beta1", self.beta1), ("beta2", self.beta2), ("eps", self.eps), ("weight_decay", self.weight_decay)];
        values.into_iter().map(|(name, value)| (name.to_string(), Attr::Float(value as f32))).collect()
    }
}

impl Follow for AdamW {
    fn check(&self) -> Result<()> {
        below_one(Field::BETA1, self.beta1)?;
        below_one(Field::BETA2, self.beta2)?;
        // Smaller ones are 0 in float32, and 0/0 is what a parameter without gradient would get.
        if !(self.eps.is_finite() && self.eps >= 1e-30) {
            return Err(Error::option(Field::EPS, format!(" {} is not at least 1e-30", self.eps)));
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::option(Field::WEIGHT_DECAY, format!(" {} must be 0 or a positive number", self.weight_decay)));
        }
        Ok(())
    }

    fn default_lr(&self) -> f64 {
        1e-4
    }

    fn state(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn scalar_state(&self) -> &'static [&'static str] {
        &["correction1", "correction2"]
    }

    /// c₁ and c₂ of this step; the updates read c₁ and √c₂.
    fn advance(&self, b: &mut Builder, state: &[ValueId]) -> Rule<Advanced> {
        let &[first, second] = state else { return Err("AdamW has two corrections".into()) };
        let rule = formula(|[first, second]| {
            let one = first.number(1.0);
            let (first, second) = (toward(first, one, 1.0 - self.beta1), toward(second, one, 1.0 - self.beta2));
            [first, second, second.sqrt()]
        });
        let [first, second, root] = b.call(&CORRECTIONS, [first, second], self.attributes(), rule)?;
        Ok(Advanced { next: vec![first, second], shared: vec![first, root] })
    }

    fn update(&self, b: &mut Builder, u: &Update) -> Rule<Vec<ValueId>> {
        let (&[c1, root2], &[m, v]) = (u.shared, u.state) else { return Err("AdamW has two corrections and two moments".into()) };
        let rule = formula(|[w, g, lr, c1, root2, m, v]| {
            let m = toward(m, g, 1.0 - self.beta1);
            let v = toward(v, g.square(), 1.0 - self.beta2);
            let rate = lr * root2 / c1;
            let eps = self.eps * root2;
            let step = m / (v.sqrt() + eps) * rate;
            let kept = if self.weight_decay > 0.0 { w * (1.0 - self.weight_decay * lr) } else { w };
            [kept - step, m, v]
        });
        Ok(b.call(&UPDATE, [u.w, u.gradient, u.lr, c1, root2, m, v], self.attributes(), rule)?.to_vec())
    }
}

impl fmt::Display for AdamW {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adamw, betas {} {}, eps {:e}", self.beta1, self.beta2, self.eps)?;
        if self.weight_decay > 0.0 { write!(f, ", weight decay {}", self.weight_decay) } else { Ok(()) }
    }
}
