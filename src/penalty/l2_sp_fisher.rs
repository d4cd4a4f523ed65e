//! L2-SP-Fisher (Li, Grandvalet and Davoine, ICML 2018): `Ω(w) = (α/2)·Σ_j F̂_jj·(w_j − w⁰_j)² + (β/2)·‖w_S̄‖²`, with gradient
//! `α·F̂⊙(w − w⁰)` on shared and `β·w` on new parameters. Reads the starting point and the diagonal of the Fisher information of the
//! source network on the source's data. Known elsewhere as elastic weight consolidation.

use super::{Penalty, Pretrained, Term, l2};
use crate::ir::Attrs;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(w, w⁰, F̂, strength) → value, dw`.
pub const PENALTY: Function = Function::new("L2SpFisherPenalty");

pub struct L2SpFisher;

impl Penalty for L2SpFisher {
    fn kind(&self) -> &'static str {
        "l2-sp-fisher"
    }

    fn uses_start(&self) -> bool {
        true
    }

    fn uses_fisher(&self) -> bool {
        true
    }

    fn is_quadratic(&self) -> bool {
        true
    }

    /// α as for L2-SP, which it becomes with F̂ = 1; the paper gives a grid of 1e-3 to 1 and no choice of its own.
    fn defaults(&self) -> (f64, f64) {
        (0.1, 0.01)
    }

    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term> {
        let rule = formula(|[w, start, fisher, strength]| {
            let moved = w - start;
            let weighted = moved * fisher;
            l2::half((moved * weighted).sum_all(), weighted, strength)
        });
        let [value, gradient] = b.call(&PENALTY, [p.w, p.start()?, p.fisher()?, p.strength], Attrs::new(), rule)?;
        Ok(Term { value, gradient })
    }

    fn without_prox(&self) -> Option<&'static str> {
        Some(l2::SMOOTH)
    }
}
