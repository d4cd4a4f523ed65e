//! Logical negation.

use crate::ir::{DType, TensorType};
use crate::operator::{Facts, Known, Operator, Rule, Status, View, fold};

/// `!x`.
pub struct Not;

impl Operator for Not {
    fn op_type(&self) -> &'static str {
        "Not"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![TensorType { dtype: DType::Bool, shape: n.ty(0)?.shape.clone() }])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let t = fold::constant(n, 0)?;
        let values: Vec<i64> = t.to_i64().ok()?.into_iter().map(|v| (v == 0) as i64).collect();
        fold::integers(DType::Bool, t.shape(), &values).map(Known::Tensor)
    }
}
