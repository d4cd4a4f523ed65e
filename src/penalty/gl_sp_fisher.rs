//! GL-SP-Fisher (Li, Grandvalet and Davoine, ICML 2018): `Ω(w) = α·Σ_g s_g·(Σ_{j∈g} F̂_jj·(w_j − w⁰_j)²)^½ + (β/2)·‖w_S̄‖²`, with the
//! groups of GL-SP. Reads the starting point and the diagonal of the Fisher information.
//!
//! Gradient: `α·s_g·F̂⊙(w_g − w⁰_g) / √(Σ_{j∈g} F̂_jj·(w_j − w⁰_j)² + 1e-16)`, 0 at 0; the 1e-16 is the authors'.

use super::{Penalty, Pretrained, Term, groups};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(w, w⁰, F̂, strength) → value, dw`.
pub const PENALTY: Function = Function::new("GlSpFisherPenalty");

pub struct GlSpFisher;

impl Penalty for GlSpFisher {
    fn kind(&self) -> &'static str {
        "gl-sp-fisher"
    }

    fn uses_start(&self) -> bool {
        true
    }

    fn uses_fisher(&self) -> bool {
        true
    }

    /// From the paper's grid of 1e-3 to 1, which names no choice.
    fn defaults(&self) -> (f64, f64) {
        (1e-3, 0.01)
    }

    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term> {
        let rule = formula(|[w, start, fisher, strength]| {
            let moved = w - start;
            groups::lasso(p.groups, moved, Some(moved * fisher), strength)
        });
        let inputs = [p.w, p.start()?, p.fisher()?, p.strength];
        let [value, gradient] = b.call(&PENALTY, inputs, groups::attributes(p.groups), rule)?;
        Ok(Term { value, gradient })
    }

    fn without_prox(&self) -> Option<&'static str> {
        Some(
            "the Fisher information weighs the elements of a group differently, so that the step has no closed form (it needs the root of an \
             equation for each channel). Take gl-sp with option `penalty_step = proximal`, or gl-sp-fisher without",
        )
    }
}
