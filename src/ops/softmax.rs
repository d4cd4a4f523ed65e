//! Softmax, its logarithm and its limit along one axis (the meaning since opset 13).

use super::blocks::formula;
use crate::ir::{Attr, Dim, TensorType, ValueId, product};
use crate::operator::attrs;
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Meaning, Operator, Rule, Status, View, axis, floating};

/// `(y, dy) → dx`.
pub const GRAD: Function = Function::new("SoftmaxGrad");

/// `(y, dy) → dx`.
pub const LOG_GRAD: Function = Function::new("LogSoftmaxGrad");

/// Before opset 13 the operator worked on everything from `axis` on at once, flattened.
fn import(cx: &mut Import) -> Rule<()> {
    let x = cx.ty(0)?.clone();
    let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(if cx.opset < 13 { 1 } else { -1 });
    let a = axis(a, x.rank())?;
    let attributes = attrs([("axis", Attr::Int(a as i64))]);
    let (outer, inner) = x.shape.split_at_checked(a).ok_or("it normalises a scalar")?;
    if cx.opset < 13 && inner.iter().skip(1).any(|d| *d != Dim::Known(1)) {
        let all = product(inner).ok_or("the axes that it normalises are impossibly large together")?;
        let (op, source) = (cx.op_type.clone(), cx.input(0)?);
        let mut b = cx.builder();
        let flat = b.reshape(source, &[outer, &[all]].concat())?;
        let flat = b.op(&op, &[flat], attributes)?;
        let whole = b.reshape(flat, &x.shape)?;
        cx.becomes(whole);
        return Ok(());
    }
    cx.attrs.extend(attributes);
    Ok(())
}

fn infer(n: &View) -> Rule<Vec<TensorType>> {
    floating(n.ty(0)?)?;
    axis(n.node.int("axis", -1), n.ty(0)?.rank())?;
    Ok(vec![n.ty(0)?.clone()])
}

/// The axis, counted from 0.
fn along(n: &View) -> Option<Vec<usize>> {
    Some(vec![axis(n.node.int("axis", -1), n.ty(0).ok()?.rank()).ok()?])
}

/// `dx = y ⊙ (dy − Σ dy ⊙ y)`.
pub struct Softmax;

impl Operator for Softmax {
    fn op_type(&self) -> &'static str {
        "Softmax"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Probabilities, keeps_classes: true, half: Half::Within, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn bounds(&self, _: &View) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        along(n)
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
        Facts { meaning: Meaning::LogProbabilities, keeps_classes: true, half: Half::Within, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        along(n)
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

/// 1 at the first largest element along the axis, else 0.
pub struct Hardmax;

impl Operator for Hardmax {
    fn op_type(&self) -> &'static str {
        "Hardmax"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }
}
