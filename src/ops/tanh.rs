//! The hyperbolic tangent.

use super::blocks::formula;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, unchanged};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::elementwise("TanhGrad");

/// `tanh x`; gradient `dy·(1 − y²)`.
pub struct Tanh;

impl Operator for Tanh {
    fn op_type(&self) -> &'static str {
        "Tanh"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (-1.0, 1.0)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], Attrs::new(), formula(|[y, dy]| [dy * (1.0 - y.square())]))?;
        Ok(vec![Some(dx)])
    }
}
