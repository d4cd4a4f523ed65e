//! Comparisons and logic: boolean results, gradient zero.

use crate::ir::{DType, TensorType};
use crate::operator::{Operator, Rule, Status, View, broadcast};

macro_rules! comparisons {
    ($($name:ident)*) => {$(
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
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

comparisons!(And Equal Greater GreaterOrEqual Less LessOrEqual Or);
