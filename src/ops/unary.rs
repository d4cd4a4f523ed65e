//! Element-wise functions of one value.

use crate::ir::{Attr, Attrs, DType, TensorType, ValueId};
use crate::operator::attrs;
use crate::operator::{Builder, Grad, Import, Operator, Rule, Status, View, floating};

/// The step function, up or down: `HardSigmoid` with a huge slope, of all standard forms the fastest on ONNX Runtime's CPU provider
/// (`Where`: 9 times slower, `Cast(Greater)`: 1.4 times).
fn step(b: &mut Builder, v: ValueId, slope: f32, at_zero: f32) -> Rule<ValueId> {
    b.op("HardSigmoid", &[v], attrs([("alpha", Attr::Float(slope)), ("beta", Attr::Float(at_zero))]))
}

/// `[y > 0]` for a rectifier's output `y`.
pub(crate) fn step_mask(b: &mut Builder, y: ValueId) -> Rule<ValueId> {
    step(b, y, 3e38, 0.0)
}

/// 1 where `x` equals `y`, which is nowhere below it, else 0.
pub(super) fn reaches(b: &mut Builder, x: ValueId, y: ValueId) -> Rule<ValueId> {
    let missing = b.sub(y, x)?;
    step(b, missing, -3e38, 1.0)
}

/// 1 where `lo < x < hi`, else 0.
fn between(b: &mut Builder, x: ValueId, lo: f64, hi: f64) -> Rule<ValueId> {
    let dtype = b.dtype(x);
    let (lo, hi) = (b.number(lo, x), b.number(hi, x));
    let above = b.op("Greater", &[x, lo], Attrs::new())?;
    let below = b.op("Less", &[x, hi], Attrs::new())?;
    let inside = b.op("And", &[above, below], Attrs::new())?;
    b.cast(inside, dtype)
}

fn same(n: &View) -> Rule<Vec<TensorType>> {
    floating(n.ty(0)?)?;
    Ok(vec![n.ty(0)?.clone()])
}

/// relu′(0) = 0.
pub struct Relu;

impl Operator for Relu {
    fn op_type(&self) -> &'static str {
        "Relu"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.output(0), g.dy()?];
        let dx = b.call("ReluGrad", &inputs, Attrs::new(), |b, i| {
            let mask = step_mask(b, i[0])?;
            Ok(vec![b.mul(i[1], mask)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at 0"
    }
}

/// `x` for `x > 0`, `alpha·x` otherwise; the slope at 0 is `alpha`, as in PyTorch.
pub struct LeakyRelu;

impl Operator for LeakyRelu {
    fn op_type(&self) -> &'static str {
        "LeakyRelu"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 0.01).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let alpha = g.node.float("alpha", 0.01);
        let inputs = [g.input(0)?, g.dy()?];
        let dx = b.call("LeakyReluGrad", &inputs, attrs([("alpha", Attr::Float(alpha))]), |b, i| {
            // slope = alpha + (1 − alpha)·[x > 0]
            let mask = step_mask(b, i[0])?;
            let (rise, base) = (b.number(1.0 - alpha as f64, mask), b.number(alpha as f64, mask));
            let slope = b.mul(mask, rise)?;
            let slope = b.add(slope, base)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "slope `alpha` at 0"
    }
}

/// `1 / (1 + exp(−x))`; gradient `dy·y·(1 − y)`.
pub struct Sigmoid;

impl Operator for Sigmoid {
    fn op_type(&self) -> &'static str {
        "Sigmoid"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.output(0), g.dy()?];
        let dx = b.call("SigmoidGrad", &inputs, Attrs::new(), |b, i| {
            let one = b.number(1.0, i[0]);
            let rest = b.sub(one, i[0])?;
            let slope = b.mul(i[0], rest)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }
}

/// `tanh x`; gradient `dy·(1 − y²)`.
pub struct Tanh;

impl Operator for Tanh {
    fn op_type(&self) -> &'static str {
        "Tanh"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.output(0), g.dy()?];
        let dx = b.call("TanhGrad", &inputs, Attrs::new(), |b, i| {
            let one = b.number(1.0, i[0]);
            let square = b.mul(i[0], i[0])?;
            let slope = b.sub(one, square)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }
}

/// `max(0, min(1, alpha·x + beta))`; gradient `alpha` strictly between the bends, 0 at them.
pub struct HardSigmoid;

impl Operator for HardSigmoid {
    fn op_type(&self) -> &'static str {
        "HardSigmoid"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 0.2)?;
        cx.float("beta", 0.5).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (alpha, beta) = (g.node.float("alpha", 0.2), g.node.float("beta", 0.5));
        let inputs = [g.output(0), g.dy()?];
        let attributes = attrs([("alpha", Attr::Float(alpha)), ("beta", Attr::Float(beta))]);
        let dx = b.call("HardSigmoidGrad", &inputs, attributes, |b, i| {
            let inside = between(b, i[0], 0.0, 1.0)?;
            let alpha = b.number(alpha as f64, inside);
            let slope = b.mul(inside, alpha)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at both bends"
    }
}

/// `x·max(0, min(1, x/6 + 1/2))`; gradient 0 up to −3, 1 from 3 on, `x/3 + 1/2` between, as in PyTorch.
pub struct HardSwish;

impl Operator for HardSwish {
    fn op_type(&self) -> &'static str {
        "HardSwish"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.input(0)?, g.dy()?];
        let dx = b.call("HardSwishGrad", &inputs, Attrs::new(), |b, i| {
            // slope = h(x) + x/6·[−3 < x < 3], with h the hard sigmoid, whose value is 0 or 1 outside.
            let sixth = attrs([("alpha", Attr::Float(1.0 / 6.0)), ("beta", Attr::Float(0.5))]);
            let gate = b.op("HardSigmoid", &[i[0]], sixth)?;
            let inside = between(b, i[0], -3.0, 3.0)?;
            let scale = b.number(1.0 / 6.0, i[0]);
            let tilt = b.mul(i[0], scale)?;
            let tilt = b.mul(tilt, inside)?;
            let slope = b.add(gate, tilt)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at −3, 1 at 3"
    }
}

/// `max(lo, min(hi, x))` with constant bounds; gradient 1 inside, 0 at the bounds and outside, as in PyTorch (2.15).
pub struct Clip;

impl Clip {
    fn bound(b: &Builder, g: &Grad, i: usize, default: f64) -> Rule<f64> {
        if !g.has(i) {
            return Ok(default);
        }
        let value = b.graph.value(g.input(i)?).constant.as_ref().and_then(|t| t.to_f64().ok());
        value.and_then(|v| v.first().copied()).ok_or_else(|| "its bounds are computed while the model runs".to_string())
    }
}

impl Operator for Clip {
    fn op_type(&self) -> &'static str {
        "Clip"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        // Attributes up to opset 10, inputs since.
        let dtype = cx.ty(0)?.dtype;
        for (i, name) in ["min", "max"].into_iter().enumerate() {
            if let Some(v) = cx.source.float(name).map_err(|e| e.to_string())? {
                let value = cx.add_constant(name, crate::ir::Tensor::from_floats(dtype, &[], &[v as f64]));
                cx.inputs.resize(cx.inputs.len().max(i + 2), None);
                cx.inputs[i + 1] = Some(value);
            }
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let lo = Clip::bound(b, g, 1, f64::NEG_INFINITY)?;
        let hi = Clip::bound(b, g, 2, f64::INFINITY)?;
        let inputs = [g.input(0)?, g.dy()?];
        let attributes = attrs([("min", Attr::Float(lo as f32)), ("max", Attr::Float(hi as f32))]);
        let dx = b.call("ClipGrad", &inputs, attributes, |b, i| {
            let dtype = b.dtype(i[0]);
            let mut dx = i[1];
            for (bound, op) in [(lo, "Greater"), (hi, "Less")] {
                if bound.is_finite() {
                    let bound = b.number(bound, i[0]);
                    let inside = b.op(op, &[i[0], bound], Attrs::new())?;
                    let inside = b.cast(inside, dtype)?;
                    dx = b.mul(dx, inside)?;
                }
            }
            if dx == i[1] {
                dx = b.op("Identity", &[dx], Attrs::new())?;
            }
            Ok(vec![dx])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "constant bounds; gradient 0 at the bounds"
    }
}

/// `−x`.
pub struct Neg;

impl Operator for Neg {
    fn op_type(&self) -> &'static str {
        "Neg"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.neg(dy)?)])
    }
}

/// `|x|`; gradient `dy·sign(x)`, 0 at 0 as in PyTorch.
pub struct Abs;

impl Operator for Abs {
    fn op_type(&self) -> &'static str {
        "Abs"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let sign = b.op("Sign", &[g.input(0)?], Attrs::new())?;
        Ok(vec![Some(b.mul(g.dy()?, sign)?)])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at 0"
    }
}

/// −1, 0 or 1.
pub struct Sign;

impl Operator for Sign {
    fn op_type(&self) -> &'static str {
        "Sign"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }
}

/// `√x`; gradient `dy / (2y)`.
pub struct Sqrt;

impl Operator for Sqrt {
    fn op_type(&self) -> &'static str {
        "Sqrt"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (y, dy) = (g.output(0), g.dy()?);
        let half = b.number(0.5, y);
        let scaled = b.mul(dy, half)?;
        Ok(vec![Some(b.div(scaled, y)?)])
    }
}

/// `eˣ`; gradient `dy·y`.
pub struct Exp;

impl Operator for Exp {
    fn op_type(&self) -> &'static str {
        "Exp"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.mul(dy, g.output(0))?)])
    }
}

/// `ln x`; gradient `dy / x`.
pub struct Log;

impl Operator for Log {
    fn op_type(&self) -> &'static str {
        "Log"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        same(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.div(dy, g.input(0)?)?)])
    }
}

/// `!x`.
pub struct Not;

impl Operator for Not {
    fn op_type(&self) -> &'static str {
        "Not"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![TensorType { dtype: DType::Bool, shape: n.ty(0)?.shape.clone() }])
    }
}
