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

use super::{Reads, Regularizer, Seen, Settings, Term, column};
use crate::ir::Attr;
use crate::operator::{Builder, Function, Rule, attrs};
use crate::ops::blocks::formula;

/// `(tuned, source, shares, strength) → value, dtuned`.
pub const PENALTY: Function = Function::new("LwfPenalty");

pub struct Lwf;

impl Regularizer for Lwf {
    fn kind(&self) -> &'static str {
        "lwf"
    }

    fn default_strength(&self) -> f64 {
        4.0
    }

    fn reads(&self) -> Reads {
        Reads::SourceLogits
    }

    fn term(&self, b: &mut Builder, seen: &Seen, settings: &Settings) -> Rule<Term> {
        let inputs = [seen.tuned, seen.source()?, seen.shares, seen.strength];
        let attributes = attrs([("temperature", Attr::Float(settings.temperature as f32))]);
        let rule = formula(|[tuned, source, shares, strength]| {
            let cool = tuned.number(1.0 / settings.temperature);
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
