//! Step functions, which masks at kinks are made of.

use crate::ir::{Attr, Attrs, ValueId};
use crate::operator::{Builder, Rule, attrs};

/// The step function, up or down: `HardSigmoid` with a huge slope, of all standard forms the fastest on ONNX Runtime's CPU provider
/// (`Where`: 9 times slower, `Cast(Greater)`: 1.4 times).
fn step(b: &mut Builder, v: ValueId, slope: f32, at_zero: f32) -> Rule<ValueId> {
    b.op("HardSigmoid", &[v], attrs([("alpha", Attr::Float(slope)), ("beta", Attr::Float(at_zero))]))
}

/// `[y > 0]` for a rectifier's output `y`.
pub(in crate::ops) fn positive(b: &mut Builder, y: ValueId) -> Rule<ValueId> {
    step(b, y, 3e38, 0.0)
}

/// 1 where `x` equals `y`, which is nowhere below it, else 0.
pub(in crate::ops) fn reaches(b: &mut Builder, x: ValueId, y: ValueId) -> Rule<ValueId> {
    let missing = b.sub(y, x)?;
    step(b, missing, -3e38, 1.0)
}

/// 1 where `lo < x < hi`, else 0.
pub(in crate::ops) fn between(b: &mut Builder, x: ValueId, lo: f64, hi: f64) -> Rule<ValueId> {
    let dtype = b.dtype(x);
    let (lo, hi) = (b.number(lo, x), b.number(hi, x));
    let above = b.op("Greater", &[x, lo], Attrs::new())?;
    let below = b.op("Less", &[x, hi], Attrs::new())?;
    let inside = b.op("And", &[above, below], Attrs::new())?;
    b.cast(inside, dtype)
}
