//! The sum and the mean of any number of values.

use super::blocks::broadcasting::{combined, handed_on};
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Meaning, Operator, Rule, View, floating};

/// The sum of any number of values.
pub struct Sum;

impl Operator for Sum {
    fn op_type(&self) -> &'static str {
        "Sum"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Sum, ..Facts::ELEMENTWISE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        handed_on(b, g, g.dy()?)
    }
}

/// The mean of any number of values.
pub struct Mean;

impl Operator for Mean {
    fn op_type(&self) -> &'static str {
        "Mean"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        floating(n.ty(0)?)?;
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let share = 1.0 / g.node.inputs.len() as f64;
        let [dy] = b.formula([g.dy()?], |[dy]| [dy * share])?;
        handed_on(b, g, dy)
    }
}

impl Builder<'_> {
    /// Adds up cotangents of one value.
    pub fn total(&mut self, parts: &[ValueId]) -> Rule<ValueId> {
        match parts {
            [one] => Ok(*one),
            // ONNX Runtime adds in place.
            [one, two] => self.add(*one, *two),
            _ => self.apply(&Sum, parts, Attrs::new()),
        }
    }
}
