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
use crate::ir::{Attr, Attrs};
use crate::operator::{Builder, Function, Rule};

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
        let attributes = Attrs::from([("temperature".to_string(), Attr::Float(settings.temperature as f32))]);
        let outputs = b.call(&PENALTY, &inputs, attributes, |b, i| {
            let cool = b.number(1.0 / settings.temperature, i[0]);
            let axis = Attrs::from([("axis".to_string(), Attr::Int(1))]);
            let [tuned, source] = [i[0], i[1]].map(|z| {
                let z = b.mul(z, cool)?;
                b.op("LogSoftmax", &[z], axis.clone())
            });
            let (log_q, log_p) = (tuned?, source?);
            let (q, p) = (b.op("Exp", &[log_q], Attrs::new())?, b.op("Exp", &[log_p], Attrs::new())?);
            let share = column(b, i[2], q)?;
            let strength = column(b, i[3], q)?;
            let weight = b.mul(share, strength)?;
            let gap = b.sub(log_p, log_q)?;
            let weighted = b.mul(p, weight)?;
            let divergence = b.mul(weighted, gap)?;
            let value = b.sum(divergence, &[0, 1], false)?;
            let difference = b.sub(q, p)?;
            let slope = b.mul(weight, cool)?;
            Ok(vec![value, b.mul(difference, slope)?])
        })?;
        Ok(Term { value: outputs[0], gradient: outputs[1] })
    }
}
