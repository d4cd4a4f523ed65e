//! The index of the largest or the smallest element.

use crate::ir::{DType, Dim, TensorType};
use crate::operator::checked::{at, set};
use crate::operator::{Import, Operator, Rule, Status, View, axis};

macro_rules! indices {
    ($($(#[$about:meta])* $name:ident;)*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn status(&self) -> Status {
                Status::ZeroGradient
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                cx.int("axis", 0)?;
                cx.int("keepdims", 1)?;
                cx.int("select_last_index", 0).map(drop)
            }

            fn along(&self, n: &View) -> Option<Vec<usize>> {
                Some(vec![axis(n.node.int("axis", 0), n.ty(0).ok()?.rank()).ok()?])
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                let mut shape = n.ty(0)?.shape.clone();
                let a = axis(n.node.int("axis", 0), shape.len())?;
                if n.node.int("keepdims", 1) == 1 {
                    set(&mut shape, a, Dim::Known(1))?;
                } else {
                    at(&shape, a)?;
                    shape.remove(a);
                }
                Ok(vec![TensorType { dtype: DType::I64, shape }])
            }
        }
    )*};
}

indices! {
    /// Of the largest.
    ArgMax;
    /// Of the smallest.
    ArgMin;
}
