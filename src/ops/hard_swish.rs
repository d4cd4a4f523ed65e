//! A value times its hard sigmoid.

use super::blocks::step::between;
use crate::ir::{Attr, Attrs, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Operator, Rule, View, attrs, unchanged};

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("HardSwishGrad");

/// `x·max(0, min(1, x/6 + 1/2))`; gradient 0 up to −3, 1 from 3 on, `x/3 + 1/2` between, as in PyTorch.
pub struct HardSwish;

impl Operator for HardSwish {
    fn op_type(&self) -> &'static str {
        "HardSwish"
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let inputs = [g.input(0)?, g.dy()?];
        let dx = b.call(&GRAD, &inputs, Attrs::new(), |b, i| {
            // slope = h(x) + x/6·[−3 < x < 3], with h the hard sigmoid, whose value is 0 or 1 outside.
            let sixth = attrs([("alpha", Attr::Float(1.0 / 6.0)), ("beta", Attr::Float(0.5))]);
            let gate = b.op("HardSigmoid", &[i[0]], sixth)?;
            let inside = between(b, i[0], -3.0, 3.0)?;
            let scale = b.number(1.0 / 6.0, i[0]);
            let tilt = b.mul(i[0], scale)?;
            let tilt = b.mul(tilt, inside)?;
            let slope = b.add(gate, tilt)?;
            Ok(vec![b.mul(i[1], slope)?])
        })?;
        Ok(vec![Some(dx[0])])
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at −3, 1 at 3"
    }
}
