//! The largest and the smallest of any number of values.

use super::blocks::broadcasting::{combined, on_elements};
use crate::ir::{Attrs, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Half, Known, Meaning, Operator, Rule, View};

/// `(dy, y, x…) → dx…`, broadcast, for those that are needed.
pub const GRAD: Function = Function::new("ExtremumGrad");

/// Each of the `k` operands that the result equals takes `dy / k`: of two equal ones each takes half, as in PyTorch's `maximum`.
fn gradient(b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
    let operands: Vec<ValueId> = (0..g.node.inputs.len()).map(|i| g.input(i)).collect::<Rule<_>>()?;
    let all = [vec![g.dy()?, g.output(0)], operands.clone()].concat();
    let shares = b.call_list(&GRAD, &all, Attrs::new(), |b, inputs| {
        let &[dy, y, ref operands @ ..] = inputs else { return Err("it has no operands".into()) };
        let mut hits = vec![];
        for &x in operands {
            let [hit] = b.formula([x, y, dy], |[x, y, dy]| [x.equals(y).cast_like(dy)])?;
            hits.push(hit);
        }
        let count = b.total(&hits)?;
        let share = b.div(dy, count)?;
        hits.iter().enumerate().filter(|(i, _)| g.needs(*i)).map(|(_, &hit)| b.mul(hit, share)).collect()
    })?;
    let mut shares = shares.into_iter();
    let own = |(i, &x): (usize, &ValueId)| match if g.needs(i) { shares.next() } else { None } {
        Some(share) => b.unbroadcast(share, &b.ty(x).clone()).map(Some),
        None => Ok(None),
    };
    operands.iter().enumerate().map(own).collect()
}

/// The larger of two numbers. Of the batch it is known only that it is at least one image.
pub(super) fn larger(a: Elem, b: Elem) -> Option<Elem> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => Some(Elem::Int(a.max(b))),
        (Elem::Batch(a), Elem::Batch(b)) => Some(Elem::Batch(a.max(b))),
        (Elem::Batch(k), Elem::Int(v)) | (Elem::Int(v), Elem::Batch(k)) => (v <= k as i64).then_some(Elem::Batch(k)),
    }
}

/// The smaller of two numbers.
pub(super) fn smaller(a: Elem, b: Elem) -> Option<Elem> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => Some(Elem::Int(a.min(b))),
        (Elem::Batch(a), Elem::Batch(b)) => Some(Elem::Batch(a.min(b))),
        (Elem::Batch(k), Elem::Int(v)) | (Elem::Int(v), Elem::Batch(k)) => (v <= k as i64).then_some(Elem::Int(v)),
    }
}

macro_rules! extrema {
    ($($(#[$about:meta])* $name:ident: $pick:ident, $meaning:ident;)*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn facts(&self) -> Facts {
                Facts { meaning: Meaning::$meaning, half: Half::Exact, ..Facts::ELEMENTWISE }
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                combined(n)
            }

            fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
                gradient(b, g)
            }

            fn evaluate(&self, n: &View) -> Option<Known> {
                on_elements(n, $pick)
            }

            fn notes(&self) -> &'static str {
                "any number of operands; equal ones share the gradient, as in PyTorch's maximum"
            }
        }
    )*};
}

extrema! {
    /// The largest of several values.
    Max: larger, Largest;
    /// The smallest of several values.
    Min: smaller, Smallest;
}
