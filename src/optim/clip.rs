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

/// `(sum of squares) → factor`.
pub const COEFFICIENT: Function = Function::new("ClipCoefficient");

/// The factor on all gradients, a scalar, from their squared norms.
pub fn coefficient(b: &mut Builder, squares: &[ValueId], max_norm: f64) -> Rule<ValueId> {
    let total = b.op("Sum", squares, Attrs::new())?;
    let attributes = Attrs::from([("max_norm".to_string(), Attr::Float(max_norm as f32))]);
    let outputs = b.call(&COEFFICIENT, &[total], attributes, |b, i| {
        let norm = b.op("Sqrt", &[i[0]], Attrs::new())?;
        let (most, tiny) = (b.number(max_norm, norm), b.number(1e-6, norm));
        let norm = b.add(norm, tiny)?;
        // min(1, X/n) = X/max(n, X), exactly 1 for small gradients.
        let norm = b.op("Max", &[norm, most], Attrs::new())?;
        Ok(vec![b.div(most, norm)?])
    })?;
    Ok(outputs[0])
}
