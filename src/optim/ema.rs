//! Exponential moving average of a parameter, with decay `d`: `e ← d·e + (1 − d)·w` after every step, from `e = w⁰`. The same as
//! `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn(d)` whose first `update_parameters` comes before the first step.
//!
//! Nothing in the training reads it. BatchNorm's statistics are averages already and are not averaged again.

use super::toward;
use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(average, w) → next average`.
pub const UPDATE: Function = Function::new("EmaUpdate");

/// The next average, from the last one and the parameter's next value.
pub fn average(b: &mut Builder, last: ValueId, w: ValueId, decay: f64) -> Rule<ValueId> {
    let attributes = Attrs::from([("decay".to_string(), Attr::Float(decay as f32))]);
    let [next] = b.call(&UPDATE, [last, w], attributes, formula(|[last, w]| [toward(last, w, 1.0 - decay)]))?;
    Ok(next)
}
