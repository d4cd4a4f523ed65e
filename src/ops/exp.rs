//! The exponential function.

use crate::ir::{TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Meaning, Operator, Rule, View, unchanged};

/// `eˣ`; gradient `dy·y`.
pub struct Exp;

impl Operator for Exp {
    fn op_type(&self) -> &'static str {
        "Exp"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Exponential, half: Half::Never, ..Facts::IN_PLACE }
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.mul(dy, g.output(0))?)])
    }
}
