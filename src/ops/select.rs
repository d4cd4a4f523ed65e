//! The choice between two values, element by element.

use crate::ir::{Attrs, DType, Elem, TensorType, ValueId};
use crate::operator::checked::set;
use crate::operator::{Builder, Facts, Grad, Half, Known, Operator, Rule, View, broadcast, fold};

/// `condition ? a : b`; each branch's gradient is `dy` where it was chosen, else 0.
pub struct Where;

impl Operator for Where {
    fn op_type(&self) -> &'static str {
        "Where"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE.with_half(Half::Exact)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (condition, a, b) = (n.ty(0)?, n.ty(1)?, n.ty(2)?);
        if condition.dtype != DType::Bool || a.dtype != b.dtype {
            return Err(format!("it cannot choose between {a} and {b} by {condition}"));
        }
        Ok(vec![TensorType { dtype: a.dtype, shape: broadcast(&broadcast(&condition.shape, &a.shape)?, &b.shape)? }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (condition, dy) = (g.input(0)?, g.dy()?);
        let mut cotangents = vec![None; 3];
        for i in [1, 2] {
            if !g.needs(i) {
                continue;
            }
            let chosen = if i == 1 { condition } else { b.op("Not", &[condition], Attrs::new())? };
            // Of the standard forms the fastest on ONNX Runtime's CPU provider.
            let mask = b.cast(chosen, b.dtype(dy))?;
            let part = b.mul(dy, mask)?;
            let to = b.ty(g.input(i)?).clone();
            set(&mut cotangents, i, Some(b.unbroadcast(part, &to)?))?;
        }
        Ok(cotangents)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let ty = self.infer(n).ok()?.pop()?;
        let (condition, a, b) = (fold::list(n, 0)?, fold::list(n, 1)?, fold::list(n, 2)?);
        let count = if ty.rank() == 0 { 1 } else { ty.shape.first()?.known()? };
        let at = |v: &[Elem], i: usize| if v.len() == 1 { v.first().copied() } else { v.get(i).copied() };
        let choose = |i| if at(&condition, i)? == Elem::Int(0) { at(&b, i) } else { at(&a, i) };
        fold::known(&ty, (0..count).map(choose).collect::<Option<_>>()?)
    }
}
