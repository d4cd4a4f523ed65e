//! The largest of several values.

use super::blocks::broadcasting::combined;
use crate::ir::TensorType;
use crate::operator::{Facts, Operator, Rule, Status, View};

/// The largest of several values; spgraph writes it itself and knows no gradient for it.
pub struct Max;

impl Operator for Max {
    fn op_type(&self) -> &'static str {
        "Max"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn status(&self) -> Status {
        Status::Refused("its gradient is not implemented")
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        combined(n)
    }
}
