//! The sign.

use crate::ir::TensorType;
use crate::operator::{Facts, Operator, Rule, Status, View, unchanged};

/// −1, 0 or 1.
pub struct Sign;

impl Operator for Sign {
    fn op_type(&self) -> &'static str {
        "Sign"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }
}
