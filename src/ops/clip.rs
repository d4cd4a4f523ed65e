//! Values between two bounds.

use super::blocks::formula;
use crate::ir::{Attr, Attrs, Domain, Node, Tensor, TensorType, ValueId};
use crate::operator::checked::set;
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Meaning, Operator, Rule, View, attrs};

/// `(y, dy) → dx`, with the bounds as attributes.
pub const GRAD: Function = Function::elementwise("ClipGrad");

/// The upper bound of a node that cuts off below 0 and above a positive number.
pub fn rectifies(n: &View) -> Option<f32> {
    let bound = |i: usize| n.constant(i)?.to_f32().ok()?.first().copied();
    bound(2).filter(|hi| n.node.is("Clip") && bound(1) == Some(0.0) && is_ceiling(*hi))
}

/// The same of the gradient.
pub fn rectified_gradient(node: &Node) -> Option<f32> {
    let hi = node.float("max", f32::INFINITY);
    (node.is_of(Domain::Function, GRAD.name) && node.float("min", f32::NEG_INFINITY) == 0.0 && is_ceiling(hi)).then_some(hi)
}

fn is_ceiling(hi: f32) -> bool {
    hi > 0.0 && hi.is_finite()
}

/// `max(lo, min(hi, x))` with constant bounds; gradient 1 inside, 0 at the bounds and outside, as in PyTorch (2.15).
pub struct Clip;

impl Clip {
    fn bound(b: &Builder, g: &Grad, i: usize, default: f64) -> Rule<f64> {
        if !g.has(i) {
            return Ok(default);
        }
        let value = b.graph.value(g.input(i)?).constant.as_ref().and_then(|t| t.to_f64().ok());
        value.and_then(|v| v.first().copied()).ok_or_else(|| "its bounds are computed while the model runs".to_string())
    }
}

impl Operator for Clip {
    fn op_type(&self) -> &'static str {
        "Clip"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Bounds, half: Half::Exact, ..Facts::IN_PLACE.of_activation() }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        // Attributes up to opset 10, inputs since.
        let dtype = cx.ty(0)?.dtype;
        for (i, name) in [(1, "min"), (2, "max")] {
            if let Some(v) = cx.source.float(name).map_err(|e| e.to_string())? {
                let value = cx.add_constant(name, Tensor::from_floats(dtype, &[], &[v as f64]));
                while cx.inputs.len() <= i {
                    cx.inputs.push(None);
                }
                set(&mut cx.inputs, i, Some(value))?;
            }
        }
        Ok(())
    }

    fn settings(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn bounds(&self, n: &View) -> (f64, f64) {
        let bound = |i: usize, none: f64| match n.input(i) {
            None => none,
            Some(_) => n.constant(i).and_then(|t| t.to_f64().ok()?.first().copied()).unwrap_or(none),
        };
        (bound(1, f64::NEG_INFINITY), bound(2, f64::INFINITY))
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let lo = Clip::bound(b, g, 1, f64::NEG_INFINITY)?;
        let hi = Clip::bound(b, g, 2, f64::INFINITY)?;
        let attributes = attrs([("min", Attr::Float(lo as f32)), ("max", Attr::Float(hi as f32))]);
        // Of the result, which is inside where the input was: nobody has to keep the input.
        let rule = formula(|[y, dy]| {
            let mut dx = None;
            if lo.is_finite() {
                dx = Some(dy * y.greater(lo).cast_like(y));
            }
            if hi.is_finite() {
                dx = Some(dx.unwrap_or(dy) * y.less(hi).cast_like(y));
            }
            [dx.unwrap_or_else(|| dy.with(|b, dy| b.op("Identity", &[dy], Attrs::new())))]
        });
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], attributes, rule)?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "constant bounds; gradient 0 at the bounds"
    }
}
