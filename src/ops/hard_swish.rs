//! A value times its hard sigmoid.

use super::blocks::formula;
use super::blocks::step::{between, hard_sigmoid};
use crate::ir::{Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, unchanged};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("HardSwishGrad");

/// `x·max(0, min(1, x/6 + 1/2))`; gradient 0 up to −3, 1 from 3 on, `x/3 + 1/2` between, as in PyTorch.
pub struct HardSwish;

impl Operator for HardSwish {
    fn op_type(&self) -> &'static str {
        "HardSwish"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE.of_activation()
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        // The slope is h(x) + x/6·[−3 < x < 3], with h the hard sigmoid, whose value is 0 or 1 outside.
        let rule = formula(|[x, dy]| {
            let (gate, inside) = (hard_sigmoid(x, 1.0 / 6.0, 0.5), between(x, -3.0, 3.0));
            [dy * (gate + x * (1.0 / 6.0) * inside)]
        });
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], Attrs::new(), rule)?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at −3, 1 at 3"
    }
}
