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
use crate::ir::{Attr, Attrs, Dim, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(w, w̃, gradient, w⁰) → next w`.
pub const PROJECTION: Function = Function::new("SelectiveProjection");

/// The parameter's value after the projection. `next` is w̃.
pub fn project(b: &mut Builder, w: ValueId, next: ValueId, gradient: ValueId, start: ValueId, lambda: f64) -> Rule<ValueId> {
    let attributes = Attrs::from([("lambda".to_string(), Attr::Float(lambda as f32))]);
    let ones = vec![Dim::Known(1); b.rank(w)];
    let rule = formula(|[w, next, g, start]| {
        let (before, after) = (w - start, next - start);
        let product = (g * before).sum_all();
        let zero = product.number(0.0);
        let selected = product.greater(zero);
        let (before, distance) = (norm(before), norm(after));
        let grown = (distance - before).max(zero);
        // Where the distance is 0 it has not grown.
        let ratio = selected.choose(grown / distance.max(1e-30), zero);
        [next - after * (ratio * lambda).reshape(&ones)]
    });
    let [next] = b.call(&PROJECTION, [w, next, gradient, start], attributes, rule)?;
    Ok(next)
}
