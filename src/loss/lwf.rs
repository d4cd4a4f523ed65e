//! Learning without Forgetting (Li and Hoiem, ECCV 2016, arXiv 1606.09282), in the form of the Transfer-Learning-Library: what the old
//! classifier says about the new images stays what it said before. With `p` from the source network, `q` from the old classifier on the
//! tuned features, both `softmax(z/T)`:
//!
//! ```text
//! Ω = strength · (1/n)·Σ_images KL(p ‖ q) = strength · (1/n)·Σ_images Σ_k p_k·(log p_k − log q_k)
//! ∂Ω/∂z = strength · (1/n)·(q − p) / T
//! ```
//!
//! There is no factor T², as in that library (strength 4, T = 3). The paper's cross-entropy of probabilities to the power 1/T, normalised,
//! has the same gradient.

use super::{Reads, Regularize, Seen, Term, column};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Attr;
use crate::operator::{Builder, Function, Rule, attrs};
use crate::ops::blocks::formula;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `(tuned, source, shares, strength) → value, dtuned`.
pub const PENALTY: Function = Function::float32("LwfPenalty");

/// Learning without Forgetting with its settings; the defaults are the Transfer-Learning-Library's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lwf {
    /// The factor on the term.
    pub strength: f64,
    /// T, by which both networks' logits are divided.
    pub temperature: f64,
}

impl Default for Lwf {
    fn default() -> Self {
        Lwf { strength: 4.0, temperature: 3.0 }
    }
}

impl Regularize for Lwf {
    fn strength(&self) -> f64 {
        self.strength
    }

    fn set_strength(&mut self, strength: f64) {
        self.strength = strength;
    }

    fn reads(&self) -> Reads<'_> {
        Reads::SourceLogits
    }

    fn check(&self) -> Result<()> {
        if self.temperature.is_finite() && self.temperature > 0.0 {
            return Ok(());
        }
        Err(Error::option(Field::TEMPERATURE, format!(" {} is no positive number; 3 is a good start", self.temperature)))
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("temperature", self.temperature.into())]
    }

    fn summary(&self, _: &[String]) -> String {
        format!("temperature {}", self.temperature)
    }

    fn term(&self, b: &mut Builder, seen: &Seen) -> Rule<Term> {
        let inputs = [seen.tuned, seen.source()?, seen.shares, seen.strength];
        let attributes = attrs([("temperature", Attr::Float(self.temperature as f32))]);
        let rule = formula(|[tuned, source, shares, strength]| {
            let cool = tuned.number(1.0 / self.temperature);
            let (log_q, log_p) = ((tuned * cool).log_softmax(1), (source * cool).log_softmax(1));
            let (q, p) = (log_q.exp(), log_p.exp());
            let weight = column(shares, q) * column(strength, q);
            let gap = log_p - log_q;
            let value = (p * weight * gap).sum(&[0, 1], false);
            [value, (q - p) * (weight * cool)]
        });
        let [value, gradient] = b.call(&PENALTY, inputs, attributes, rule)?;
        Ok(Term { value, gradient })
    }
}
