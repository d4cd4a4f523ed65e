//! The absolute value.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Known, Operator, Rule, View, fold};

/// `|x|`; gradient `dy·sign(x)`, 0 at 0 as in PyTorch.
pub struct Abs;

impl Operator for Abs {
    fn op_type(&self) -> &'static str {
        "Abs"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE.with_half(Half::Exact)
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let sign = b.op("Sign", &[g.input(0)?], Attrs::new())?;
        Ok(vec![Some(b.mul(g.dy()?, sign)?)])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::mapped(n, |x| x.checked_abs())
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at 0"
    }
}
