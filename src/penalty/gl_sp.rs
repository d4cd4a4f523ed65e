//! GL-SP (Li, Grandvalet and Davoine, ICML 2018), group lasso: `Ω(w) = α·Σ_g s_g·‖w_g − w⁰_g‖₂ + (β/2)·‖w_S̄‖²`, with one group for
//! each output channel of each layer, `s_g = √p_g` and `p_g` the number of its elements. Reads the starting point.
//!
//! Gradient: `α·s_g·(w_g − w⁰_g) / √(‖w_g − w⁰_g‖² + 1e-16)`; the 1e-16 is the authors', and makes it 0 at 0. The value has no
//! such term, so that it is 0 at the start.
//!
//! The proximal step is the soft-threshold of whole groups: with `d = w − w⁰` and `t = lr·α·s_g`, `w⁰` where `‖d_g‖ ≤ t`, else
//! `w − d_g·t/‖d_g‖`. It brings whole channels exactly back to their start.

use super::{Penalty, Pretrained, Term, groups};
use crate::ir::ValueId;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(w, w⁰, strength) → value, dw`.
pub const PENALTY: Function = Function::new("GlSpPenalty");

/// `(w, w⁰, strength) → value`.
pub const VALUE: Function = Function::new("GlSpValue");

/// `(w, w⁰, threshold) → next w`.
pub const PROX: Function = Function::new("GlSpProx");

pub struct GlSp;

impl Penalty for GlSp {
    fn kind(&self) -> &'static str {
        "gl-sp"
    }

    fn uses_start(&self) -> bool {
        true
    }

    /// From the paper's grid of 1e-3 to 1, which names no choice: every step pulls every weight by about lr·α, however near it is.
    fn defaults(&self) -> (f64, f64) {
        (1e-3, 0.01)
    }

    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term> {
        let rule = formula(|[w, start, strength]| {
            let moved = w - start;
            groups::lasso(p.groups, moved, None, strength)
        });
        let [value, gradient] = b.call(&PENALTY, [p.w, p.start()?, p.strength], groups::attributes(p.groups), rule)?;
        Ok(Term { value, gradient })
    }

    fn without_prox(&self) -> Option<&'static str> {
        None
    }

    fn value(&self, b: &mut Builder, p: &Pretrained) -> Rule<ValueId> {
        let rule = formula(|[w, start, strength]| [groups::norms(p.groups, w - start, strength)]);
        let [value] = b.call(&VALUE, [p.w, p.start()?, p.strength], groups::attributes(p.groups), rule)?;
        Ok(value)
    }

    fn prox(&self, b: &mut Builder, p: &Pretrained) -> Rule<ValueId> {
        let rule = formula(|[w, start, threshold]| [groups::shrink(p.groups, w, start, threshold)]);
        let [next] = b.call(&PROX, [p.w, p.start()?, p.strength], groups::attributes(p.groups), rule)?;
        Ok(next)
    }
}
