//! The rectifier whose slope below 0 is a parameter.

use super::blocks::Expr;
use super::blocks::step::positive;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, ParameterKind, PerSample, Rule, Samples, View, broadcast, floating};

/// `(x, slope, dy) → dx, the gradient of the slope before it is summed`.
pub const GRAD: Function = Function::new("PReluGrad");

/// `x` for `x > 0`, `slope·x` otherwise; the slope at 0 is `slope`, as in PyTorch.
pub struct PRelu;

/// `min(x, 0)`, which is what the slope is multiplied with.
fn below(x: Expr<'_>) -> Expr<'_> {
    x.min(0.0)
}

impl Operator for PRelu {
    fn op_type(&self) -> &'static str {
        "PRelu"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE.of_activation()
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, slope) = (n.ty(0)?, n.ty(1)?);
        floating(x)?;
        if slope.dtype != x.dtype || broadcast(&x.shape, &slope.shape)? != x.shape {
            return Err(format!("its slope {slope} does not fit {x}"));
        }
        Ok(vec![x.clone()])
    }

    /// `dx = dy` above 0, else `dy·slope`; `dslope = Σ dy·min(x, 0)`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let slope = g.input(1)?;
        let needed = if g.needs(1) { 2 } else { 1 };
        let found = b.call_list(&GRAD, &[g.input(0)?, slope, g.dy()?], Attrs::new(), |b, inputs| {
            let &[x, slope, dy] = inputs else { return Err("it needs data, slope and cotangent".into()) };
            let both = b.formula([x, slope, dy], |[x, slope, dy]| {
                let above = positive(x);
                [dy * (above + slope * (1.0 - above)), dy * below(x)]
            })?;
            Ok(both.into_iter().take(needed).collect())
        })?;
        let to = b.ty(slope).clone();
        let own = found.get(1).map(|&v| b.unbroadcast(v, &to)).transpose()?;
        Ok(vec![found.first().copied(), own])
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let slope = b.ty(g.input(1)?).clone();
        let [factor] = b.formula([g.input(0)?], |[x]| [below(x)])?;
        let factor = s.repeated(b, factor)?;
        let product = b.mul(g.dy()?, factor)?;
        Ok(vec![None, Some(s.unbroadcast(b, product, &slope)?)])
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Scale)]
    }

    fn notes(&self) -> &'static str {
        "the slope is a parameter; slope `slope` at 0"
    }
}
