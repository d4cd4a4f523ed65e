//! Addition.

use super::blocks::broadcasting::{combined, handed_on, on_elements};
use crate::ir::{Attrs, Dim, Elem, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Known, Meaning, Operator, ParameterKind, PerSample, Rule, Samples, View};

/// A constant for each channel next to a matrix product or convolution is that layer's bias; any other is an addend.
fn bias_or_addend(n: &View) -> Vec<Option<ParameterKind>> {
    let product = |i: usize| {
        let node = n.input(i).and_then(|v| n.graph.producer(v));
        let operator = node.and_then(|node| View { graph: n.graph, node }.operator());
        operator.is_some_and(|o| o.facts().meaning.takes_bias())
    };
    let spans_channels =
        |i: usize| n.ty(i).is_ok_and(|t| t.dtype.is_float() && t.shape.iter().filter(|d| **d != Dim::Known(1)).count() == 1);
    let kind = |i: usize, other: usize| match !n.is_fixed(other) && product(other) && spans_channels(i) {
        true => ParameterKind::Bias,
        false => ParameterKind::Addend,
    };
    vec![Some(kind(0, 1)), Some(kind(1, 0))]
}

/// The sum of two elements of shapes.
pub(super) fn sum(a: Elem, b: Elem) -> Option<Elem> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => a.checked_add(b).map(Elem::Int),
        (x, Elem::Int(0)) | (Elem::Int(0), x) => Some(x),
        (Elem::Batch(a), Elem::Batch(b)) => a.checked_add(b).map(Elem::Batch),
        _ => None,
    }
}

pub struct Add;

impl Operator for Add {
    fn op_type(&self) -> &'static str {
        "Add"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Sum, keeps_classes: true, ..Facts::IN_PLACE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        handed_on(b, g, g.dy()?)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_elements(n, sum)
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let mut found = vec![];
        for (i, input) in s.grad.node.inputs.iter().enumerate() {
            found.push(match input.filter(|_| s.grad.needs(i)) {
                Some(input) => Some(s.unbroadcast(b, s.grad.dy()?, &b.ty(input).clone())?),
                None => None,
            });
        }
        Ok(found)
    }

    fn parameters(&self, n: &View) -> Vec<Option<ParameterKind>> {
        bias_or_addend(n)
    }
}

impl Builder<'_> {
    /// `a + b`.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.apply(&Add, &[a, b], Attrs::new())
    }
}
