//! The rectifier with a slope below 0.

use super::blocks::formula;
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
        Facts::IN_PLACE.of_activation()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 0.01).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let alpha = g.node.float("alpha", 0.01);
        let (inputs, attributes) = ([g.input(0)?, g.dy()?], attrs([("alpha", Attr::Float(alpha))]));
        let alpha = alpha as f64;
        let [dx] = b.call(&GRAD, inputs, attributes, formula(|[x, dy]| [dy * (positive(x) * (1.0 - alpha) + alpha)]))?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "slope `alpha` at 0"
    }
}
