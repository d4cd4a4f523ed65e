//! The sigmoid of three straight lines.

use super::blocks::formula;
use super::blocks::step::between;
use crate::ir::{Attr, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Import, Meaning, Operator, Rule, View, attrs, unchanged};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::elementwise("HardSigmoidGrad");

/// `max(0, min(1, alpha·x + beta))`; gradient `alpha` strictly between the bends, 0 at them.
pub struct HardSigmoid;

impl Operator for HardSigmoid {
    fn op_type(&self) -> &'static str {
        "HardSigmoid"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Squashed, ..Facts::IN_PLACE.of_activation() }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.float("alpha", 0.2)?;
        cx.float("beta", 0.5).map(drop)
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (alpha, beta) = (g.node.float("alpha", 0.2), g.node.float("beta", 0.5));
        let attributes = attrs([("alpha", Attr::Float(alpha)), ("beta", Attr::Float(beta))]);
        let alpha = alpha as f64;
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], attributes, formula(|[y, dy]| [dy * (between(y, 0.0, 1.0) * alpha)]))?;
        Ok(vec![Some(dx)])
    }

    fn plain(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let (alpha, beta) = (n.node.float("alpha", 0.2) as f64, n.node.float("beta", 0.5) as f64);
        let &[x] = inputs else { return Ok(None) };
        let [y] = b.formula([x], |[x]| [(x * alpha + beta).max(0.0).min(1.0)])?;
        Ok(Some(vec![y]))
    }

    fn notes(&self) -> &'static str {
        "gradient 0 at both bends"
    }
}
