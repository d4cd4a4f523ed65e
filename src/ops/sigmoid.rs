//! The logistic function.

use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, unchanged};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::elementwise("SigmoidGrad");

/// `1 / (1 + exp(−x))`; gradient `dy·y·(1 − y)`.
pub struct Sigmoid;

impl Operator for Sigmoid {
    fn op_type(&self) -> &'static str {
        "Sigmoid"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.output(0), g.dy()?];
        let dx = b.call(&GRAD, &inputs, Attrs::new(), |b, i| {
            let one = b.number(1.0, i[0]);
            let rest = b.sub(one, i[0])?;
            let slope = b.mul(i[0], rest)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }
}
