//! Selective Projection Decay (Tian, Huang and Kira, NeurIPS 2024, arXiv 2411.01713; code: GT-RIPL/Selective-Projection-Decay), for
//! each tensor that has a starting point, after the update rule took `w` to `w̃`:
//!
//! ```text
//! c = −⟨g, w − w⁰⟩                                  equation 3
//! r = max(0, γ̃ − γ) / γ̃      γ̃ = ‖w̃ − w⁰‖, γ = ‖w − w⁰‖   equation 9
//! w ← w̃ − λ·r·(w̃ − w⁰)        where c < 0, else w ← w̃
//! ```
//!
//! With λ = 1 a selected tensor is projected back onto the sphere around w⁰ on which it was before the step. `g` is the gradient
//! that the update rule gets. Where c < 0 the gradient itself leads back towards w⁰, so that r is positive only because momentum or
//! Adam's scaling carries on outwards: with plain SGD and small steps SPD does next to nothing.

use super::norm;
use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};

/// `(w, w̃, gradient, w⁰) → next w`.
pub const PROJECTION: Function = Function::new("SelectiveProjection");

/// The parameter's value after the projection. `next` is w̃.
pub fn project(b: &mut Builder, w: ValueId, next: ValueId, gradient: ValueId, start: ValueId, lambda: f64) -> Rule<ValueId> {
    let attributes = Attrs::from([("lambda".to_string(), Attr::Float(lambda as f32))]);
    let outputs = b.call(&PROJECTION, &[w, next, gradient, start], attributes, |b, i| {
        let [w, next, g, start] = i[..] else { return Err("SPD needs four inputs".into()) };
        let (before, after) = (b.sub(w, start)?, b.sub(next, start)?);
        let product = b.mul(g, before)?;
        let axes: Vec<usize> = (0..b.rank(product)).collect();
        let product = b.sum(product, &axes, false)?;
        let zero = b.number(0.0, product);
        let selected = b.op("Greater", &[product, zero], Attrs::new())?;
        let (before, distance) = (norm(b, before)?, norm(b, after)?);
        let grown = b.sub(distance, before)?;
        let grown = b.op("Max", &[grown, zero], Attrs::new())?;
        // Where the distance is 0 it has not grown.
        let tiny = b.number(1e-30, distance);
        let distance = b.op("Max", &[distance, tiny], Attrs::new())?;
        let ratio = b.div(grown, distance)?;
        let ratio = b.op("Where", &[selected, ratio, zero], Attrs::new())?;
        let lambda = b.number(lambda, ratio);
        let share = b.mul(ratio, lambda)?;
        let ones = vec![crate::ir::Dim::Known(1); b.rank(after)];
        let share = b.reshape(share, &ones)?;
        let back = b.mul(after, share)?;
        Ok(vec![b.sub(next, back)?])
    })?;
    Ok(outputs[0])
}
