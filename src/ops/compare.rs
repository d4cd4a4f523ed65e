//! Comparisons and logic: boolean results, gradient zero.

use crate::ir::{DType, TensorType};
use crate::operator::{Facts, Operator, Rule, Status, View, broadcast};

macro_rules! comparisons {
    ($($name:ident: $facts:expr,)*) => {$(
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
        }
    )*};
}

comparisons! {
    And: Facts::IN_PLACE,
    Equal: Facts::ELEMENTWISE,
    Greater: Facts::ELEMENTWISE,
    GreaterOrEqual: Facts::ELEMENTWISE,
    Less: Facts::ELEMENTWISE,
    LessOrEqual: Facts::ELEMENTWISE,
    Or: Facts::IN_PLACE,
}
