//! Weight decay: `Ω(w) = (α/2)·‖w‖²`, gradient `α·w`. Reads no starting point.

use super::{Penalty, Pretrained, Term};
use crate::ir::{Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::{Expr, formula};

/// `(w, strength) → value, dw`.
pub const PENALTY: Function = Function::new("L2Penalty");

pub struct L2;

/// Why a quadratic penalty has no use for a proximal step.
pub(super) const SMOOTH: &str = "it is smooth: its proximal step would bring no weight exactly back to its start. With \
     option `penalty_step = decoupled` it is no part of the gradient";

/// `(s/2)·‖d‖²` and `s·d` for a difference `d`.
pub(super) fn quadratic<'f>(d: Expr<'f>, strength: Expr<'f>) -> [Expr<'f>; 2] {
    half(d.sum_square(), d, strength)
}

/// `(s/2)·q` and `s·v`, for a scalar `q` and half its gradient `v`.
pub(super) fn half<'f>(q: Expr<'f>, v: Expr<'f>, strength: Expr<'f>) -> [Expr<'f>; 2] {
    let scalar = strength.reshape(&[]);
    [q * 0.5 * scalar, v * strength]
}

pub(super) fn term(b: &mut Builder, w: ValueId, strength: ValueId) -> Rule<Term> {
    let [value, gradient] = b.call(&PENALTY, [w, strength], Attrs::new(), formula(|[w, strength]| quadratic(w, strength)))?;
    Ok(Term { value, gradient })
}

impl Penalty for L2 {
    fn kind(&self) -> &'static str {
        "l2"
    }

    fn uses_start(&self) -> bool {
        false
    }

    fn is_quadratic(&self) -> bool {
        true
    }

    /// The paper's authors use 1e-4 on shared and 1e-3 on new parameters.
    fn defaults(&self) -> (f64, f64) {
        (1e-4, 1e-3)
    }

    fn shared(&self, b: &mut Builder, p: &Pretrained) -> Rule<Term> {
        term(b, p.w, p.strength)
    }

    fn without_prox(&self) -> Option<&'static str> {
        Some(SMOOTH)
    }
}
