//! Powers.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Operator, Rule, View, broadcast};

/// `aᵇ` for a constant exponent; gradient `dy·b·aᵇ⁻¹`, and 0 for `b = 0` whatever `a` is, as in PyTorch.
pub struct Pow;

impl Operator for Pow {
    fn op_type(&self) -> &'static str {
        "Pow"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let shape = broadcast(&n.ty(0)?.shape, &n.ty(1)?.shape)?;
        Ok(vec![TensorType { dtype: n.ty(0)?.dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        if g.needs(1) {
            return Err("a gradient for the exponent is not supported".into());
        }
        let (x, dy) = (g.input(0)?, g.dy()?);
        let exponent = b.graph.value(g.input(1)?).constant.as_ref().filter(|t| t.count() == 1).and_then(|t| t.to_f64().ok());
        let exponent = exponent.ok_or("only a constant scalar exponent is supported")?[0];
        // x⁰ is 1 everywhere; 0·x⁻¹ would be no number at 0.
        if exponent == 0.0 {
            return Ok(vec![None, None]);
        }
        let [dx] = b.formula([x, dy], |[x, dy]| {
            let (factor, less) = (x.number(exponent), x.number(exponent - 1.0));
            let power = if exponent == 2.0 { x } else { x.with_both(less, |b, x, less| b.op("Pow", &[x, less], Attrs::new())) };
            [dy * (power * factor)]
        })?;
        Ok(vec![Some(b.unbroadcast(dx, &b.ty(x).clone())?), None])
    }

    fn notes(&self) -> &'static str {
        "constant scalar exponent"
    }
}
