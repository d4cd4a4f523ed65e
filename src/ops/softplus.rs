//! The smooth rectifier.

use super::blocks::formula;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Half, Operator, Rule, View, unchanged};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("SoftplusGrad");

/// `ln(1 + eˣ)`; gradient `dy·σ(x)`.
pub struct Softplus;

impl Operator for Softplus {
    fn op_type(&self) -> &'static str {
        "Softplus"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE.with_half(Half::Never).of_activation()
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], Attrs::new(), formula(|[x, dy]| [dy * x.sigmoid()]))?;
        Ok(vec![Some(dx)])
    }
}
