//! Weight decay: `Ω(w) = (α/2)·‖w‖²`, gradient `α·w`. Reads no starting point.

use super::{Penalty, Pretrained, Term};
use crate::ir::{Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};

/// `(w, strength) → value, dw`.
pub const PENALTY: Function = Function::new("L2Penalty");

pub struct L2;

/// Why a quadratic penalty has no use for a proximal step.
pub(super) const SMOOTH: &str =
    "it is smooth: its proximal step would bring no weight exactly back to its start. `--decoupled` takes it out of the gradient";

/// `(s/2)·‖d‖²` and `s·d` for a difference `d`, inside a function's body.
pub(super) fn quadratic(b: &mut Builder, d: ValueId, strength: ValueId) -> Rule<Vec<ValueId>> {
    let norm = b.sum_square(d)?;
    half(b, norm, d, strength)
}

/// `(s/2)·q` and `s·v`, for a scalar `q` and half its gradient `v`, inside a function's body.
pub(super) fn half(b: &mut Builder, q: ValueId, v: ValueId, strength: ValueId) -> Rule<Vec<ValueId>> {
    let strength0 = b.reshape(strength, &[])?;
    let half = b.number(0.5, q);
    let value = b.mul(q, half)?;
    let value = b.mul(value, strength0)?;
    Ok(vec![value, b.mul(v, strength)?])
}

pub(super) fn term(b: &mut Builder, w: ValueId, strength: ValueId) -> Rule<Term> {
    let outputs = b.call(&PENALTY, &[w, strength], Attrs::new(), |b, i| quadratic(b, i[0], i[1]))?;
    Ok(Term { value: outputs[0], gradient: outputs[1] })
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
