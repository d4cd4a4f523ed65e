//! Functions of one value whose gradient is zero: they go in steps, or answer a question.

use crate::ir::{DType, TensorType};
use crate::operator::{Facts, Half, Import, Operator, Rule, Status, View};

macro_rules! steps {
    ($($(#[$about:meta])* $name:ident: $result:expr, $import:expr;)*) => {$(
        $(#[$about])*
        pub struct $name;

        impl Operator for $name {
            fn op_type(&self) -> &'static str {
                stringify!($name)
            }

            fn facts(&self) -> Facts {
                Facts::ELEMENTWISE.with_half(Half::Exact)
            }

            fn status(&self) -> Status {
                Status::ZeroGradient
            }

            fn import(&self, cx: &mut Import) -> Rule<()> {
                let import: fn(&mut Import) -> Rule<()> = $import;
                import(cx)
            }

            fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
                let result: Option<DType> = $result;
                let x = n.ty(0)?;
                Ok(vec![TensorType { dtype: result.unwrap_or(x.dtype), shape: x.shape.clone() }])
            }
        }
    )*};
}

fn plain(_: &mut Import) -> Rule<()> {
    Ok(())
}

steps! {
    /// The nearest integer above.
    Ceil: None, plain;
    /// The nearest integer below.
    Floor: None, plain;
    /// The nearest integer, the even one of two.
    Round: None, plain;
    /// −1, 0 or 1.
    Sign: None, plain;
    /// Whether it is no number.
    IsNaN: Some(DType::Bool), plain;
    /// Whether it is infinite, on the sides that count.
    IsInf: Some(DType::Bool), |cx| {
        cx.int("detect_negative", 1)?;
        cx.int("detect_positive", 1).map(drop)
    };
}
