//! The square root.

use crate::ir::{TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Operator, Rule, View, unchanged};

/// `√x`; gradient `dy / (2y)`.
pub struct Sqrt;

impl Operator for Sqrt {
    fn op_type(&self) -> &'static str {
        "Sqrt"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE.with_half(Half::Never)
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let [dx] = b.formula([g.output(0), g.dy()?], |[y, dy]| [dy * 0.5 / y])?;
        Ok(vec![Some(dx)])
    }
}
