//! The rectifier with a slope below 0.

use super::blocks::step::positive;
use crate::ir::{Attr, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Import, Operator, Rule, View, attrs, unchanged};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("LeakyReluGrad");

/// `x` for `x > 0`, `alpha·x` otherwise; the slope at 0 is `alpha`, as in PyTorch.
pub struct LeakyRelu;

impl Operator for LeakyRelu {
    fn op_type(&self) -> &'static str {
        "LeakyRelu"
    }

    fn facts(&self) -> Facts {
        Facts::IN_PLACE
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 0.01).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let alpha = g.node.float("alpha", 0.01);
        let inputs = [g.input(0)?, g.dy()?];
        let dx = b.call(&GRAD, &inputs, attrs([("alpha", Attr::Float(alpha))]), |b, i| {
            // slope = alpha + (1 − alpha)·[x > 0]
            let mask = positive(b, i[0])?;
            let (rise, base) = (b.number(1.0 - alpha as f64, mask), b.number(alpha as f64, mask));
            let slope = b.mul(mask, rise)?;
            let slope = b.add(slope, base)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "slope `alpha` at 0"
    }
}
