//! Operators that are a formula of one value: its slope, and where the emitted opset lacks the operator the function itself.

use super::{Expr, formula};
use crate::ir::{Attr, TensorType, ValueId};
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Meaning, Operator, Rule, View, unchanged};

/// `(x, dy) → dx`; the attribute `of` names the operator.
pub const GRAD: Function = Function::elementwise("PointwiseGrad");

/// A formula of `x` and the attributes, in their order.
type Formula = for<'f> fn(Expr<'f>, [f64; MOST]) -> Expr<'f>;

/// No such operator has more attributes.
const MOST: usize = 2;

/// An operator on single elements.
pub struct Pointwise {
    /// Its name; with a `value` also the declaration of the function.
    pub function: Function,
    /// Its float attributes, with ONNX's defaults.
    pub attributes: &'static [(&'static str, f32)],
    /// The function, where it is written out.
    pub value: Option<Formula>,
    /// Its derivative.
    pub slope: Formula,
    /// What it computes, where someone looks for that.
    pub meaning: Meaning,
    /// Whether its results are a network's activations.
    pub activation: bool,
    /// For the page of operators.
    pub notes: &'static str,
}

impl Pointwise {
    /// Of an operator that the emitted opset has, without attributes.
    pub const fn new(name: &'static str, slope: Formula) -> Pointwise {
        let (function, meaning) = (Function::elementwise(name), Meaning::Other);
        Pointwise { function, attributes: &[], value: None, slope, meaning, activation: false, notes: "" }
    }

    /// The attributes' values, and 0 where there is no further one.
    fn settings(&self, node: &crate::ir::Node) -> [f64; MOST] {
        let mut given = self.attributes.iter().map(|&(name, default)| node.float(name, default) as f64);
        std::array::from_fn(|_| given.next().unwrap_or(0.0))
    }
}

impl Operator for Pointwise {
    fn op_type(&self) -> &'static str {
        self.function.name
    }

    fn facts(&self) -> Facts {
        Facts { meaning: self.meaning, activation: self.activation, half: Half::Never, ..Facts::ELEMENTWISE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        self.attributes.iter().try_for_each(|&(name, default)| cx.float(name, default).map(drop))
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        unchanged(n)
    }

    fn body(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let (Some(value), &[x]) = (self.value, inputs) else { return Ok(None) };
        let settings = self.settings(n.node);
        Ok(Some(b.formula([x], |[x]| [value(x, settings)])?.to_vec()))
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (settings, mut attributes) = (self.settings(&g.node), g.node.attrs.clone());
        attributes.insert("of".into(), Attr::String(self.function.name.into()));
        let [dx] = b.call(&GRAD, [g.input(0)?, g.dy()?], attributes, formula(|[x, dy]| [dy * (self.slope)(x, settings)]))?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        self.notes
    }
}
