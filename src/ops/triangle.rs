//! Triangles of matrices, and running sums.

use crate::ir::{Attr, DType, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, Status, View, attrs, axis, floating, fold};

/// A matrix with zeros below (`upper`) or above a diagonal; the gradient has them too.
pub struct Trilu;

/// The diagonal, counted to the right of the main one.
fn diagonal(n: &View) -> Rule<i64> {
    if n.input(1).is_none() {
        return Ok(0);
    }
    match n.known_ints(1, "its diagonal")?[..] {
        [k] => Ok(k),
        _ => Err("its diagonal is no single number".into()),
    }
}

impl Operator for Trilu {
    fn op_type(&self) -> &'static str {
        "Trilu"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("upper", 1).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        diagonal(n)?;
        if x.rank() < 2 { Err(format!("{x} is no matrix")) } else { Ok(vec![x.clone()]) }
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let mut inputs = vec![Some(g.dy()?)];
        inputs.extend(g.node.inputs.get(1).copied());
        let dx = b.nodes("Trilu", &inputs, g.node.attrs.clone())?;
        Ok(vec![dx.first().copied(), None])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let t = fold::constant(n, 0)?;
        let (k, upper) = (diagonal(n).ok()?, n.node.int("upper", 1) != 0);
        let [.., rows, columns] = t.shape() else { return None };
        let place = |i: usize| ((i / columns % rows) as i64, (i % columns) as i64);
        let kept = |i: usize| {
            let (row, column) = place(i);
            if upper { column - row >= k } else { column - row <= k }
        };
        let values: Vec<i64> = t.to_i64().ok()?.into_iter().enumerate().map(|(i, v)| if kept(i) { v } else { 0 }).collect();
        fold::integers(t.dtype(), t.shape(), &values).map(Known::Tensor)
    }

    fn notes(&self) -> &'static str {
        "constant diagonal"
    }
}

/// Sums of all elements up to each along an axis; the gradient sums from the other end.
pub struct CumSum;

impl Operator for CumSum {
    fn op_type(&self) -> &'static str {
        "CumSum"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("exclusive", 0)?;
        cx.int("reverse", 0)?;
        let rank = cx.ty(0)?.rank();
        let given = cx.constant(1).and_then(|t| t.to_i64().ok());
        let along = match given.as_deref() {
            Some([a]) => axis(*a, rank)?,
            _ => return Err("its axis (input 1) is computed while the model runs; export it as a constant".into()),
        };
        let along = cx.add_constant("axis", Tensor::from_i64(&[], &[along as i64]));
        cx.inputs[1] = Some(along);
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        floating(b.ty(dy))?;
        let turned = [("exclusive", Attr::Int(g.node.int("exclusive", 0))), ("reverse", Attr::Int(1 - g.node.int("reverse", 0)))];
        Ok(vec![Some(b.op("CumSum", &[dy, g.input(1)?], attrs(turned))?), None])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let t = fold::constant(n, 0)?;
        let along = usize::try_from(*n.ints(1)?.first()?).ok()?;
        let size = *t.shape().get(along)?;
        let pace = *fold::strides(t.shape()).get(along)?;
        let mut values = t.to_i64().ok()?;
        let (exclusive, reverse) = (n.node.int("exclusive", 0) != 0, n.node.int("reverse", 0) != 0);
        for first in (0..values.len()).filter(|i| i / pace % size == 0) {
            let mut sum = 0i64;
            for k in 0..size {
                let at = first + pace * if reverse { size - 1 - k } else { k };
                let value = values[at];
                values[at] = if exclusive { sum } else { sum.checked_add(value)? };
                sum = sum.checked_add(value)?;
            }
        }
        fold::integers(t.dtype(), t.shape(), &values).map(Known::Tensor)
    }

    fn notes(&self) -> &'static str {
        "constant axis"
    }
}

/// The identity matrix of another tensor's shape: a constant.
pub struct EyeLike;

impl Operator for EyeLike {
    fn op_type(&self) -> &'static str {
        "EyeLike"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let x = cx.ty(0)?.clone();
        let k = cx.source.int("k").map_err(|e| e.to_string())?.unwrap_or(0);
        let code = cx.source.int("dtype").map_err(|e| e.to_string())?;
        let dtype = match code {
            Some(code) => i32::try_from(code).ok().and_then(DType::from_onnx).ok_or_else(|| format!("it has the element type {code}"))?,
            None => x.dtype,
        };
        let (Some(dims), 2) = (x.dims(), x.rank()) else { return Err(format!("{x} is no matrix of known size")) };
        if dims[0].checked_mul(dims[1]).is_none_or(|n| n > 1 << 22) {
            return Err(format!("an identity of the size of {x} is too large to be written as a constant"));
        }
        let values: Vec<f64> = (0..dims[0] * dims[1]).map(|i| ((i % dims[1]) as i64 - (i / dims[1]) as i64 == k) as u8 as f64).collect();
        let name = cx.outputs.first().cloned().unwrap_or_default();
        let eye = cx.graph.constant(&name, Tensor::from_floats(dtype, &dims, &values));
        cx.replaced = Some(vec![eye]);
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn notes(&self) -> &'static str {
        "becomes a constant"
    }
}
