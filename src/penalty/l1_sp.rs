//! L1-SP (Li, Grandvalet and Davoine, ICML 2018): `Ω(w) = α·‖w_S − w⁰_S‖₁ + (β/2)·‖w_S̄‖²`, with gradient `α·sign(w − w⁰)`, 0 at 0.
//! Reads the starting point.
//!
//! The proximal step is the soft-threshold of `d = w − w⁰`, element by element: `w⁰` where `|d| ≤ t`, else `w − t·sign(d)`, for
//! `t = lr·α`. What returns to `w⁰` is equal to it bit by bit; the gradient alone makes a weight jump to and fro around `w⁰`.

use super::{Penalty, Shared, Term};
use crate::ir::{Attrs, ValueId};
use crate::ops::{Builder, Rule};

pub struct L1Sp;

impl Penalty for L1Sp {
    fn kind(&self) -> &'static str {
        "l1-sp"
    }

    fn uses_start(&self) -> bool {
        true
    }

    /// From the paper's grid of 1e-3 to 1, which names no choice: every step pulls every weight by lr·α, however near it is.
    fn defaults(&self) -> (f64, f64) {
        (1e-3, 0.01)
    }

    fn shared(&self, b: &mut Builder, p: &Shared) -> Rule<Term> {
        let outputs = b.call("L1SpPenalty", &[p.w, p.start()?, p.strength], Attrs::new(), |b, i| {
            let moved = b.sub(i[0], i[1])?;
            let size = b.op("Abs", &[moved], Attrs::new())?;
            let all: Vec<usize> = (0..b.rank(size)).collect();
            let sum = b.sum(size, &all, false)?;
            let strength = b.reshape(i[2], &[])?;
            let value = b.mul(sum, strength)?;
            let sign = b.op("Sign", &[moved], Attrs::new())?;
            Ok(vec![value, b.mul(sign, i[2])?])
        })?;
        Ok(Term { value: outputs[0], gradient: outputs[1] })
    }

    fn without_prox(&self) -> Option<&'static str> {
        None
    }

    fn prox(&self, b: &mut Builder, p: &Shared) -> Rule<ValueId> {
        let outputs = b.call("L1SpProx", &[p.w, p.start()?, p.strength], Attrs::new(), |b, i| {
            let moved = b.sub(i[0], i[1])?;
            let size = b.op("Abs", &[moved], Attrs::new())?;
            let back = b.op("LessOrEqual", &[size, i[2]], Attrs::new())?;
            let sign = b.op("Sign", &[moved], Attrs::new())?;
            let cut = b.mul(sign, i[2])?;
            let shrunk = b.sub(i[0], cut)?;
            Ok(vec![b.op("Where", &[back, i[1], shrunk], Attrs::new())?])
        })?;
        Ok(outputs[0])
    }
}
