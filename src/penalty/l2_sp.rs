//! L2-SP (Li, Grandvalet and Davoine, ICML 2018): `Ω(w) = (α/2)·‖w_S − w⁰_S‖² + (β/2)·‖w_S̄‖²`, with gradient `α·(w − w⁰)` on the
//! parameters `S` that the source network has and `β·w` on the new ones. Reads the starting point `w⁰`.

use super::{Penalty, Pretrained, Term, l2};
use crate::ir::Attrs;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(w, w⁰, strength) → value, dw`.
pub const PENALTY: Function = Function::new("L2SpPenalty");

pub struct L2Sp;

impl Penalty for L2Sp {
    fn kind(&self) -> &'static str {
        "l2-sp"
    }

    fn uses_start(&self) -> bool {
        true
    }

    fn is_quadratic(&self) -> bool {
        true
    }

    /// α and β of the authors' script for Stanford Dogs.
    fn defaults(&self) -> (f64, f64) {
        (0.1, 0.01)
    }

    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term> {
        let rule = formula(|[w, start, strength]| l2::quadratic(w - start, strength));
        let [value, gradient] = b.call(&PENALTY, [p.w, p.start()?, p.strength], Attrs::new(), rule)?;
        Ok(Term { value, gradient })
    }

    fn without_prox(&self) -> Option<&'static str> {
        Some(l2::SMOOTH)
    }
}
