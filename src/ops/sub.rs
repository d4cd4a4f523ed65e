//! Subtraction.

use super::blocks::broadcasting::{combined, handed_on, on_elements};
use crate::ir::{Attrs, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Known, Meaning, Operator, ParameterKind, Rule, View};

pub struct Sub;

impl Operator for Sub {
    fn op_type(&self) -> &'static str {
        "Sub"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Difference, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    /// `da = dy`, `db = −dy`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let mut found = handed_on(b, g, g.dy()?)?;
        for db in found.iter_mut().skip(1).flatten() {
            *db = b.neg(*db)?;
        }
        Ok(found)
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![Some(ParameterKind::Addend); 2]
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_elements(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_sub(b).map(Elem::Int),
            (x, Elem::Int(0)) => Some(x),
            _ => None,
        })
    }
}

impl Builder<'_> {
    /// `a − b`.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.apply(&Sub, &[a, b], Attrs::new())
    }
}
