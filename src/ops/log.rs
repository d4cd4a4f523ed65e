//! The natural logarithm.

use crate::ir::{TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Meaning, Operator, Rule, View, unchanged};

/// `ln x`; gradient `dy / x`.
pub struct Log;

impl Operator for Log {
    fn op_type(&self) -> &'static str {
        "Log"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Logarithm, half: Half::Never, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.div(dy, g.input(0)?)?)])
    }
}
