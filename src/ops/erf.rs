//! The error function, of which exporters write GELU.

use super::blocks::formula;
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, unchanged};
use std::f64::consts::FRAC_2_SQRT_PI;

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("ErfGrad");

/// `2/√π·∫₀ˣ e^(−t²) dt`; gradient `dy·2/√π·e^(−x²)`.
pub struct Erf;

impl Operator for Erf {
    fn op_type(&self) -> &'static str {
        "Erf"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (-1.0, 1.0)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let rule = formula(|[x, dy]| [dy * ((-x.square()).exp() * FRAC_2_SQRT_PI)]);
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], Attrs::new(), rule)?;
        Ok(vec![Some(dx)])
    }
}
