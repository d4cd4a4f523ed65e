//! Softmax cross-entropy with integer targets.
//!
//! With `p = softmax(z)`, `K` classes, label smoothing `ε` and `q = (1 − ε)·onehot(target) + ε/K`:
//! `loss = −(1/n)·Σ_rows Σ_k q_k·log p_k`, `∂loss/∂z = (p − q)/n`. Rows with target −1 are padding: they count neither in the
//! sum nor in `n`. The same as PyTorch's `cross_entropy(z, target, ignore_index=-1, label_smoothing=ε)`.

use super::Loss;
use crate::ir::{Attr, Attrs, DType, Dim, Tensor, ValueId};
use crate::operator::{Builder, Function, Rule};

/// `(logits, target) → loss, dlogits, number of right answers`.
pub const CROSS_ENTROPY: Function = Function::new("SoftmaxCrossEntropy");

/// `logits` is `[N, K]`, `target` int64 `[N]`.
pub fn cross_entropy(b: &mut Builder, logits: ValueId, target: ValueId, label_smoothing: f64) -> Rule<Loss> {
    let &[_, Dim::Known(classes)] = b.shape(logits) else {
        return Err(format!("the loss needs logits of shape [N, classes], these are {}", b.ty(logits)));
    };
    let dtype = b.dtype(logits);
    let attributes = Attrs::from([("label_smoothing".to_string(), Attr::Float(label_smoothing as f32))]);
    let outputs = b.call(&CROSS_ENTROPY, &[logits, target], attributes, |b, i| {
        let (z, target) = (i[0], i[1]);
        let last = Attrs::from([("axis".to_string(), Attr::Int(1))]);
        let log_p = b.op("LogSoftmax", &[z], last.clone())?;
        // A target of −1 equals no class: its row of the one-hot matrix is zero.
        let rows = b.shape(target)[0];
        let column = b.reshape(target, &[rows, 1.into()])?;
        let labels = b.constant(Tensor::from_i64(&[1, classes], &(0..classes as i64).collect::<Vec<_>>()));
        let hit = b.op("Equal", &[column, labels], Attrs::new())?;
        let one_hot = b.cast(hit, dtype)?;
        let counts = b.sum(one_hot, &[1], true)?;
        let valid = b.sum(counts, &[0, 1], true)?;
        let one = b.number(1.0, valid);
        let share = b.op("Max", &[valid, one], Attrs::new())?;
        let q = if label_smoothing > 0.0 {
            let (keep, spread) = (b.number(1.0 - label_smoothing, one_hot), b.number(label_smoothing / classes as f64, counts));
            let kept = b.mul(one_hot, keep)?;
            let spread = b.mul(counts, spread)?;
            b.add(kept, spread)?
        } else {
            one_hot
        };
        let weighted = b.mul(q, log_p)?;
        let total = b.sum(weighted, &[0, 1], true)?;
        let mean = b.div(total, share)?;
        let loss = b.neg(mean)?;
        let loss = b.reshape(loss, &[])?;
        let p = b.op("Exp", &[log_p], Attrs::new())?;
        let p = b.mul(p, counts)?;
        let difference = b.sub(p, q)?;
        let gradient = b.div(difference, share)?;
        let best = b.op("ArgMax", &[z], Attrs::from([("axis".to_string(), Attr::Int(1)), ("keepdims".to_string(), Attr::Int(0))]))?;
        let right = b.op("Equal", &[best, target], Attrs::new())?;
        let right = b.cast(right, DType::F32)?;
        let correct = b.sum(right, &[0], false)?;
        Ok(vec![loss, gradient, correct])
    })?;
    Ok(Loss { value: outputs[0], gradient: outputs[1], correct: outputs[2] })
}
