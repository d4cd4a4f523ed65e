//! Softmax and its logarithm along one axis (the meaning since opset 13).

use super::blocks::formula;
use crate::ir::{Attr, Dim, TensorType, ValueId};
use crate::operator::attrs;
use crate::operator::{Builder, Facts, Function, Grad, Import, Meaning, Operator, Rule, View, axis, floating};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::new("SoftmaxGrad");

/// `(y, dy) → dx`.
pub const LOG_GRAD: Function = Function::new("LogSoftmaxGrad");

/// Before opset 13 the operator worked on everything from `axis` on at once; that is the same thing where `axis` is the last
/// axis that is longer than 1.
fn import(cx: &mut Import) -> Rule<()> {
    let rank = cx.ty(0)?.rank();
    let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(if cx.opset < 13 { 1 } else { -1 });
    let a = axis(a, rank)?;
    if cx.opset < 13 && cx.ty(0)?.shape[a + 1..].iter().any(|d| *d != Dim::Known(1)) {
        return Err(format!("at opset {} it normalises over axes {a} to {} at once, which is not supported", cx.opset, rank - 1));
    }
    cx.set("axis", Attr::Int(a as i64));
    Ok(())
}

fn infer(n: &View) -> Rule<Vec<TensorType>> {
    floating(n.ty(0)?)?;
    axis(n.node.int("axis", -1), n.ty(0)?.rank())?;
    Ok(vec![n.ty(0)?.clone()])
}

/// `dx = y ⊙ (dy − Σ dy ⊙ y)`.
pub struct Softmax;

impl Operator for Softmax {
    fn op_type(&self) -> &'static str {
        "Softmax"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Probabilities, keeps_classes: true, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let a = axis(g.node.int("axis", -1), b.rank(g.output(0)))?;
        let rule = formula(|[y, dy]| [y * (dy - (y * dy).sum(&[a], true))]);
        let [dx] = b.call(&GRAD, [g.output(0), g.dy()?], attrs([("axis", Attr::Int(a as i64))]), rule)?;
        Ok(vec![Some(dx)])
    }
}

/// `dx = dy − eʸ·Σ dy`.
pub struct LogSoftmax;

impl Operator for LogSoftmax {
    fn op_type(&self) -> &'static str {
        "LogSoftmax"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Probabilities, keeps_classes: true, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let a = axis(g.node.int("axis", -1), b.rank(g.output(0)))?;
        let rule = formula(|[y, dy]| {
            let total = dy.sum(&[a], true);
            [dy - y.exp() * total]
        });
        let [dx] = b.call(&LOG_GRAD, [g.output(0), g.dy()?], attrs([("axis", Attr::Int(a as i64))]), rule)?;
        Ok(vec![Some(dx)])
    }
}
