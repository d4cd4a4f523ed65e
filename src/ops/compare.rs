//! Comparisons and logic: boolean results, gradient zero.

use crate::ir::{DType, Elem, TensorType};
use crate::operator::{Facts, Half, Known, Operator, Rule, Status, View, broadcast, fold};
use std::cmp::Ordering;

macro_rules! comparisons {
    ($($name:ident: $facts:expr, $on:expr;)*) => {$(
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn facts(&self) -> Facts {
                $facts
            }

            fn status(&self) -> Status {
                Status::ZeroGradient
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                Ok(vec![TensorType { dtype: DType::Bool, shape: broadcast(&n.ty(0)?.shape, &n.ty(1)?.shape)? }])
            }

            fn evaluate(&self, n: &View) -> Option<Known> {
                on_numbers(n, self.infer(n).ok()?.first()?, $on)
            }
        }
    )*};
}

/// The result for scalars and lists of integers that are known. Of the batch it is known only that it is at least one image.
fn on_numbers(n: &View, ty: &TensorType, on: impl Fn(Ordering, i64, i64) -> bool) -> Option<Known> {
    let (a, b) = (fold::list(n, 0)?, fold::list(n, 1)?);
    let count = if ty.rank() == 0 { 1 } else { ty.shape.first()?.known()? };
    let at = |v: &[Elem], i: usize| if v.len() == 1 { v.first().copied() } else { v.get(i).copied() };
    let one = |i: usize| {
        let (order, a, b) = match (at(&a, i)?, at(&b, i)?) {
            (Elem::Int(a), Elem::Int(b)) => (a.cmp(&b), a, b),
            (Elem::Batch(a), Elem::Batch(b)) => (a.cmp(&b), 1, 1),
            (Elem::Batch(k), Elem::Int(v)) if v < k as i64 => (Ordering::Greater, 1, v),
            (Elem::Int(v), Elem::Batch(k)) if v < k as i64 => (Ordering::Less, v, 1),
            _ => return None,
        };
        Some(Elem::Int(on(order, a, b) as i64))
    };
    fold::known(ty, (0..count).map(one).collect::<Option<_>>()?)
}

comparisons! {
    And: Facts::IN_PLACE.with_half(Half::Exact), |_, a, b| a != 0 && b != 0;
    Equal: Facts::ELEMENTWISE.with_half(Half::Exact), |order, _, _| order.is_eq();
    Greater: Facts::ELEMENTWISE.with_half(Half::Exact), |order, _, _| order.is_gt();
    GreaterOrEqual: Facts::ELEMENTWISE.with_half(Half::Exact), |order, _, _| order.is_ge();
    Less: Facts::ELEMENTWISE.with_half(Half::Exact), |order, _, _| order.is_lt();
    LessOrEqual: Facts::ELEMENTWISE.with_half(Half::Exact), |order, _, _| order.is_le();
    Or: Facts::IN_PLACE.with_half(Half::Exact), |_, a, b| a != 0 || b != 0;
    Xor: Facts::IN_PLACE.with_half(Half::Exact), |_, a, b| (a != 0) != (b != 0);
}
