//! The negative.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Half, Known, Meaning, Operator, Rule, View, fold};

/// `−x`.
pub struct Neg;

impl Operator for Neg {
    fn op_type(&self) -> &'static str {
        "Neg"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Negation, half: Half::Exact, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.neg(dy)?)])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::mapped(n, |x| x.checked_neg())
    }
}

impl Builder<'_> {
    /// `−a`.
    pub fn neg(&mut self, a: ValueId) -> Rule<ValueId> {
        self.apply(&Neg, &[a], Attrs::new())
    }
}
