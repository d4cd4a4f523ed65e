//! The negative.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Operator, Rule, View, unchanged};

/// `−x`.
pub struct Neg;

impl Operator for Neg {
    fn op_type(&self) -> &'static str {
        "Neg"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        Ok(vec![Some(b.neg(dy)?)])
    }
}

impl Builder<'_> {
    /// `−a`.
    pub fn neg(&mut self, a: ValueId) -> Rule<ValueId> {
        self.apply(&Neg, &[a], Attrs::new())
    }
}
