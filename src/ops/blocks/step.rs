//! Step functions, which masks at kinks are made of.

use super::formula::Expr;
use crate::ir::Attr;
use crate::operator::attrs;

/// `max(0, min(1, slope·x + shift))`.
pub(in crate::ops) fn hard_sigmoid(x: Expr<'_>, slope: f32, shift: f32) -> Expr<'_> {
    x.with(|b, x| b.op("HardSigmoid", &[x], attrs([("alpha", Attr::Float(slope)), ("beta", Attr::Float(shift))])))
}

/// `[y > 0]` for a rectifier's output `y`, as a hard sigmoid with a huge slope: of all standard forms the fastest on ONNX Runtime's CPU
/// provider (`Where`: 9 times slower, `Cast(Greater)`: 1.4 times).
///
/// The attribute is a float32, and so the slope 3e38, not infinite: below 3.4e-39 the step is a ramp, `3e38·y` and not 1. In float32 such
/// numbers are subnormal; every normal one (from 1.2e-38 on) gets exactly 1. An infinite slope would make `∞·0`, which is no number, of 0.
pub(in crate::ops) fn positive(y: Expr<'_>) -> Expr<'_> {
    hard_sigmoid(y, 3e38, 0.0)
}

/// 1 where `x` equals `y`, which is nowhere below it, else 0.
pub(in crate::ops) fn reaches<'f>(x: Expr<'f>, y: Expr<'f>) -> Expr<'f> {
    hard_sigmoid(y - x, -3e38, 1.0)
}

/// 1 where `lo < x < hi`, else 0.
pub(in crate::ops) fn between(x: Expr<'_>, lo: f64, hi: f64) -> Expr<'_> {
    let (lo, hi) = (x.number(lo), x.number(hi));
    x.greater(lo).and(x.less(hi)).cast_like(x)
}
