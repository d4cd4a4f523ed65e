//! Activations that are a formula. At a bend the slope is that of the side below, as in PyTorch.

use super::blocks::step::positive;
use super::blocks::{Expr, Pointwise};

/// `min(x, 0)`
fn negative(x: Expr<'_>) -> Expr<'_> {
    x.min(0.0)
}

/// 1 above 0, elsewhere `factor·eˣ`.
fn exponential(x: Expr<'_>, factor: f64) -> Expr<'_> {
    let below = negative(x).exp();
    if factor == 1.0 { below } else { below * factor + positive(x) * (1.0 - factor) }
}

/// `[|x| > bound]`
fn beyond(x: Expr<'_>, bound: f64) -> Expr<'_> {
    x.abs().greater(bound).cast_like(x)
}

/// `x` above 0, elsewhere `alpha·(eˣ − 1)`.
pub static ELU: Pointwise = Pointwise {
    attributes: &[("alpha", 1.0)],
    notes: "slope `alpha` at 0",
    activation: true,
    ..Pointwise::new("Elu", |x, a| exponential(x, a[0]))
};

/// `gamma·x` above 0, elsewhere `gamma·alpha·(eˣ − 1)`.
pub static SELU: Pointwise = Pointwise {
    attributes: &[("alpha", 1.673_263_2), ("gamma", 1.050_701)],
    notes: "slope `gamma·alpha` at 0",
    activation: true,
    ..Pointwise::new("Selu", |x, a| exponential(x, a[0]) * a[1])
};

/// `max(0, x) + min(0, alpha·(e^(x/alpha) − 1))`, as a function: tract's reading of the operator is another one.
pub static CELU: Pointwise = Pointwise {
    attributes: &[("alpha", 1.0)],
    value: Some(|x, a| x.relu() + ((negative(x) * (1.0 / a[0])).exp() - 1.0) * a[0]),
    notes: "a function",
    ..Pointwise::new("Celu", |x, a| (negative(x) * (1.0 / a[0])).exp())
};

/// `x` above `alpha`, elsewhere 0.
pub static THRESHOLDED_RELU: Pointwise = Pointwise {
    attributes: &[("alpha", 1.0)],
    notes: "gradient 0 at `alpha`",
    ..Pointwise::new("ThresholdedRelu", |x, a| x.greater(a[0]).cast_like(x))
};

/// 0 where `|x| ≤ lambd`, elsewhere `bias` nearer to 0.
pub static SHRINK: Pointwise = Pointwise {
    attributes: &[("bias", 0.0), ("lambd", 0.5)],
    notes: "gradient 0 at `±lambd`",
    ..Pointwise::new("Shrink", |x, a| beyond(x, a[1]))
};

/// `x·tanh(log(1 + eˣ))`, where `tanh(log(1 + w)) = n / (n + 2)` with `n = w·(w + 2)`: exact at both ends, whatever a runtime's tanh is.
pub static MISH: Pointwise = Pointwise {
    value: Some(|x, _| {
        let n = mish_terms(x)[1];
        x * n / (n + 2.0)
    }),
    notes: "a function",
    activation: true,
    ..Pointwise::new("Mish", |x, _| {
        let [w, n] = mish_terms(x);
        let sum = n + 2.0;
        n / sum + x * (w * (w + 1.0) * 4.0 / sum.square())
    })
};

/// `w` and `n`; from 20 on nothing changes in float32 and float64.
fn mish_terms(x: Expr<'_>) -> [Expr<'_>; 2] {
    let w = x.min(20.0).exp();
    [w, w * (w + 2.0)]
}

/// `x / (1 + e^(−alpha·x))`
pub static SWISH: Pointwise = Pointwise {
    attributes: &[("alpha", 1.0)],
    value: Some(|x, a| x * scaled(x, a[0]).sigmoid()),
    notes: "a function",
    activation: true,
    ..Pointwise::new("Swish", |x, a| {
        let (inner, gate) = (scaled(x, a[0]), scaled(x, a[0]).sigmoid());
        gate + inner * gate * (1.0 - gate)
    })
};

fn scaled(x: Expr<'_>, factor: f64) -> Expr<'_> {
    if factor == 1.0 { x } else { x * factor }
}
