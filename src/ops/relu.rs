//! The rectifier.

use super::blocks::formula;
use super::blocks::step::positive;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Half, Meaning, Operator, Rule, View, unchanged};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::elementwise("ReluGrad");

/// relu′(0) = 0.
pub struct Relu;

impl Operator for Relu {
    fn op_type(&self) -> &'static str {
        "Relu"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Rectifier, half: Half::Exact, ..Facts::IN_PLACE.of_activation() }
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], Attrs::new(), formula(|[y, dy]| [dy * positive(y)]))?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at 0"
    }
}
