//! The sigmoid of a quotient.

use super::blocks::formula;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, unchanged};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("SoftsignGrad");

/// `x / (1 + |x|)`; gradient `dy / (1 + |x|)²`, which has no kink.
pub struct Softsign;

impl Operator for Softsign {
    fn op_type(&self) -> &'static str {
        "Softsign"
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
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], Attrs::new(), formula(|[x, dy]| [dy / (x.abs() + 1.0).square()]))?;
        Ok(vec![Some(dx)])
    }
}
