//! The logistic function.

use super::blocks::formula;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Meaning, Operator, Rule, View, unchanged};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::elementwise("SigmoidGrad");

/// `1 / (1 + exp(−x))`; gradient `dy·y·(1 − y)`.
pub struct Sigmoid;

impl Operator for Sigmoid {
    fn op_type(&self) -> &'static str {
        "Sigmoid"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Logistic, ..Facts::IN_PLACE }
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], Attrs::new(), formula(|[y, dy]| [dy * (y * (1.0 - y))]))?;
        Ok(vec![Some(dx)])
    }
}
