//! Powers.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Half, Operator, Rule, View, broadcast};

/// `(a, b, y, dy) → da, db` before they are summed, of which the last may be left out.
pub const GRAD: Function = Function::new("PowGrad");

/// `aᵇ`; `da = dy·b·aᵇ⁻¹`, and 0 for `b = 0` whatever `a` is; `db = dy·y·log a`, and 0 for `a = 0` and `b ≥ 0`: as in PyTorch.
pub struct Pow;

impl Operator for Pow {
    fn op_type(&self) -> &'static str {
        "Pow"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE.with_half(Half::Never).keeping_sign()
    }

    /// Of even exponents.
    fn bounds(&self, n: &View) -> (f64, f64) {
        let even = n.constant(1).and_then(|t| t.to_f64().ok()).is_some_and(|list| list.iter().all(|p| p % 2.0 == 0.0));
        (if even { 0.0 } else { f64::NEG_INFINITY }, f64::INFINITY)
    }

    /// A negative base has no logarithm, and even where the exponent is a whole number there is no slope towards it.
    fn trained_above_zero(&self) -> Option<(usize, usize)> {
        Some((1, 0))
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let shape = broadcast(&n.ty(0)?.shape, &n.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: n.ty(0)?.dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, dy) = (g.input(0)?, g.dy()?);
        let exponent = b.graph.value(g.input(1)?).constant.as_ref().filter(|t| t.count() == 1).and_then(|t| t.to_f64().ok());
        let Some(&exponent) = exponent.as_ref().filter(|_| !g.needs(1)).and_then(|v| v.first()) else { return general(b, g) };
        // x⁰ is 1 everywhere; 0·x⁻¹ would be no number at 0.
        if exponent == 0.0 {
            return Ok(vec![None, None]);
        }
        let [dx] = b.formula([x, dy], |[x, dy]| {
            let (factor, less) = (x.number(exponent), x.number(exponent - 1.0));
            let power = if exponent == 2.0 { x } else { x.pow(less) };
            [dy * (power * factor)]
        })?;
        Ok(vec![Some(b.unbroadcast(dx, &b.ty(x).clone())?), None])
    }
}

/// Of any exponent.
fn general(b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
    let (x, exponent, needed) = (g.input(0)?, g.input(1)?, if g.needs(1) { 2 } else { 1 });
    // The exponent may have a type of its own.
    let power = b.cast(exponent, b.dtype(x))?;
    let parts = b.call_list(&GRAD, &[x, power, g.output(0), g.dy()?], Attrs::new(), |b, inputs| {
        let &[x, power, y, dy] = inputs else { return Err("it needs base, exponent, result and cotangent".into()) };
        let both = b.formula([x, power, y, dy], |[x, power, y, dy]| {
            let (zero, still) = (dy * 0.0, power.equals(0.0));
            let rest = x.equals(0.0).and(power.less(0.0).negated());
            [still.choose(zero, dy * power * x.pow(power - 1.0)), rest.choose(zero, dy * y * x.log())]
        })?;
        Ok(both.into_iter().take(needed).collect())
    })?;
    let summed = |b: &mut Builder, part: Option<&ValueId>, of: ValueId| match part {
        Some(&part) => {
            let dtype = b.dtype(part);
            let to = TensorType { dtype, shape: b.shape(of).to_vec() };
            b.unbroadcast(part, &to).and_then(|v| b.cast(v, b.dtype(of))).map(Some)
        }
        None => Ok(None),
    };
    Ok(vec![summed(b, parts.first(), x)?, summed(b, parts.get(1), exponent)?])
}
