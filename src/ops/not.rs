//! Logical negation.

use crate::ir::{DType, TensorType};
use crate::operator::{Facts, Operator, Rule, Status, View};

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
}
