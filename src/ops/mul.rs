//! Multiplication.

use super::blocks::broadcasting::{combined, on_elements};
use crate::ir::{Attrs, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Known, Meaning, Operator, ParameterKind, Rule, View};

/// The product of two elements of shapes.
pub(super) fn product(a: Elem, b: Elem) -> Option<Elem> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => a.checked_mul(b).map(Elem::Int),
        (Elem::Batch(a), Elem::Int(b)) | (Elem::Int(b), Elem::Batch(a)) => {
            usize::try_from(b).ok().filter(|&b| b > 0).and_then(|b| a.checked_mul(b)).map(Elem::Batch)
        }
        _ => None,
    }
}

pub struct Mul;

impl Operator for Mul {
    fn op_type(&self) -> &'static str {
        "Mul"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Product, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        let one = |b: &mut Builder, of: usize, other: usize| -> Rule<Option<ValueId>> {
            if !g.needs(of) {
                return Ok(None);
            }
            let product = b.mul(dy, g.input(other)?)?;
            Ok(Some(b.unbroadcast(product, &b.ty(g.input(of)?).clone())?))
        };
        Ok(vec![one(b, 0, 1)?, one(b, 1, 0)?])
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![Some(ParameterKind::Factor); 2]
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_elements(n, product)
    }
}

impl Builder<'_> {
    /// `a·b`.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.apply(&Mul, &[a, b], Attrs::new())
    }
}
