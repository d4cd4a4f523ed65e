//! Gradient clipping by the global norm, as `torch.nn.utils.clip_grad_norm_` does it:
//!
//! ```text
//! n = (Σ ‖g‖²)^½              over the gradients of all trainable parameters
//! g ← g · min(1, X / (n + 1e-6))
//! ```
//!
//! `g` is the gradient of the loss as it is trained, penalty included: what a user of PyTorch has in `.grad` after
//! `(data_loss + penalty).backward()`. What acts outside the gradient (AdamW's weight decay, SPD) is not clipped.

use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::formula;

/// `(sum of squares) → factor`.
pub const COEFFICIENT: Function = Function::new("ClipCoefficient");

/// The factor on all gradients, a scalar, from their squared norms.
pub fn coefficient(b: &mut Builder, squares: &[ValueId], max_norm: f64) -> Rule<ValueId> {
    let total = b.op("Sum", squares, Attrs::new())?;
    let attributes = Attrs::from([("max_norm".to_string(), Attr::Float(max_norm as f32))]);
    let rule = formula(|[total]| {
        let norm = total.sqrt();
        let most = norm.number(max_norm);
        // min(1, X/n) = X/max(n, X), exactly 1 for small gradients.
        [most / (norm + 1e-6).max(most)]
    });
    let [factor] = b.call(&COEFFICIENT, [total], attributes, rule)?;
    Ok(factor)
}
