//! The Gaussian error linear unit.

use super::blocks::{Expr, formula};
use crate::ir::{Attr, TensorType, ValueId};
use crate::operator::checked::at;
use crate::operator::{Builder, Facts, Function, Grad, Import, Operator, Rule, View, attrs, unchanged};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// `x → y`.
pub const GELU: Function = Function::elementwise("Gelu");

/// `(x, dy) → dx`.
pub const GRAD: Function = Function::elementwise("GeluGrad");

/// `x·Φ(x)`, `Φ(x) = (1 + erf(x/√2)) / 2`; gradient `Φ(x) + x·e^(−x²/2)/√(2π)`. With `approximate`
/// `Φ(x) ≈ (1 + tanh(u)) / 2`, `u = √(2/π)·(x + 0.044715·x³)`; gradient `(1 + t)/2 + x·(1 − t²)·u′/2` with `t = tanh(u)`.
pub struct Gelu;

/// `√(2/π)`
const STEEP: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const CUBIC: f64 = 0.044715;

/// `u`
fn inner(x: Expr<'_>) -> Expr<'_> {
    x * (x.square() * (STEEP * CUBIC) + STEEP)
}

/// In the order in which ONNX Runtime finds one operation in it.
fn value(x: Expr<'_>, approximate: bool) -> Expr<'_> {
    let half = if approximate { inner(x).tanh() } else { (x * FRAC_1_SQRT_2).erf() } + 1.0;
    x * half * 0.5
}

fn slope(x: Expr<'_>, approximate: bool) -> Expr<'_> {
    if approximate {
        // (1 − t²) / 4 = e / (1 + e)² with e = e^(−2·|u|), which is 0 far out: x³ times the error of a tanh near 1 would be large.
        let u = inner(x);
        let e = (u.abs() * -2.0).exp();
        let rest = e / (e + 1.0).square();
        (u.tanh() + 1.0) * 0.5 + x * rest * (x.square() * (6.0 * STEEP * CUBIC) + 2.0 * STEEP)
    } else {
        ((x * FRAC_1_SQRT_2).erf() + 1.0) * 0.5 + x * (x.square() * -0.5).exp() * (0.5 * STEEP)
    }
}

fn approximate(n: &crate::ir::Node) -> bool {
    n.int("tanh", 0) == 1
}

impl Operator for Gelu {
    fn op_type(&self) -> &'static str {
        GELU.name
    }

    fn facts(&self) -> Facts {
        Facts::ELEMENTWISE.of_activation()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let tanh = match cx.string("approximate", "none")?.as_str() {
            "none" => 0,
            "tanh" => 1,
            other => return Err(format!("`approximate` is \"{other}\", which ONNX does not know")),
        };
        cx.set("tanh", Attr::Int(tanh));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let [y] = b.formula([at(inputs, 0)?], |[x]| [value(x, approximate(n.node))])?;
        Ok(Some(vec![y]))
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (approximate, attributes) = (approximate(&g.node), attrs([("tanh", Attr::Int(g.node.int("tanh", 0)))]));
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], attributes, formula(|[x, dy]| [dy * slope(x, approximate)]))?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "a function"
    }
}
