//! Division.

use super::blocks::broadcasting::{combined, on_elements};
use crate::ir::{Attrs, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Known, Meaning, Operator, ParameterKind, Rule, View};

/// `a / b`; for integers ONNX truncates.
pub struct Div;

impl Operator for Div {
    fn op_type(&self) -> &'static str {
        "Div"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Quotient, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    /// `da = dy / b`, `db = −dy·y / b`.
    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let ratio = b.div(g.dy()?, g.input(1)?)?;
        let da = if g.needs(0) { Some(b.unbroadcast(ratio, &b.ty(g.input(0)?).clone())?) } else { None };
        let db = if g.needs(1) {
            let product = b.mul(ratio, g.output(0))?;
            let summed = b.unbroadcast(product, &b.ty(g.input(1)?).clone())?;
            Some(b.neg(summed)?)
        } else {
            None
        };
        Ok(vec![da, db])
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![Some(ParameterKind::Factor); 2]
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_elements(n, |a, b| match (a, b) {
            (Elem::Int(a), Elem::Int(b)) => a.checked_div(b).map(Elem::Int),
            (Elem::Batch(a), Elem::Int(b)) => {
                usize::try_from(b).ok().filter(|&b| a.is_multiple_of(b)).and_then(|b| a.checked_div(b)).map(Elem::Batch)
            }
            _ => None,
        })
    }
}

impl Builder<'_> {
    /// `a / b`.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.apply(&Div, &[a, b], Attrs::new())
    }
}
