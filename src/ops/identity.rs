//! Operators that hand their input on.

use crate::ir::{TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Known, Meaning, Operator, Rule, View, fold};

pub struct Identity;

impl Operator for Identity {
    fn op_type(&self) -> &'static str {
        "Identity"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, keeps_classes: true, meaning: Meaning::Identity, half: Half::Exact, ..Facts::ELEMENTWISE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, _: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        Ok(vec![Some(g.dy()?)])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::reshaped(n, n.ty(0).ok()?)
    }
}
