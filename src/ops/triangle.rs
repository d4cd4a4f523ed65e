//! Triangles of matrices, and running sums.

use crate::ir::{Attr, DType, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::set;
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, Status, View, attrs, axis, floating, fold};

/// A matrix with zeros below (`upper`) or above a diagonal; the gradient has them too.
pub struct Trilu;

/// The diagonal, counted to the right of the main one.
fn diagonal(n: &View) -> Rule<i64> {
    if n.input(1).is_none() {
        return Ok(0);
    }
    match *n.known_ints(1, "its diagonal")? {
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
        let mut values = t.to_i64().ok()?;
        for (row, line) in (0i64..).zip(values.chunks_mut((*columns).max(1))) {
            // The row within its matrix.
            let row = row.checked_rem(i64::try_from(*rows).ok()?)?;
            for (column, v) in (0i64..).zip(line) {
                let right = column.checked_sub(row)?;
                let kept = if upper { right >= k } else { right <= k };
                *v = if kept { *v } else { 0 };
            }
        }
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
        set(&mut cx.inputs, 1, Some(along))?;
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![n.ty(0)?.clone()])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        floating(b.ty(dy))?;
        let turned =
            [("exclusive", Attr::Int(g.node.int("exclusive", 0))), ("reverse", Attr::Int(i64::from(g.node.int("reverse", 0) == 0)))];
        Ok(vec![Some(b.op("CumSum", &[dy, g.input(1)?], attrs(turned))?), None])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let t = fold::constant(n, 0)?;
        let along = usize::try_from(*n.ints(1)?.first()?).ok()?;
        let size = *t.shape().get(along)?;
        let pace = *fold::strides(t.shape()).get(along)?;
        let mut values = t.to_i64().ok()?;
        let (exclusive, reverse) = (n.node.int("exclusive", 0) != 0, n.node.int("reverse", 0) != 0);
        for block in values.chunks_mut(size.checked_mul(pace)?.max(1)) {
            for first in 0..pace {
                let mut along: Vec<&mut i64> = block.iter_mut().skip(first).step_by(pace).collect();
                if reverse {
                    along.reverse();
                }
                let mut sum = 0i64;
                for value in along {
                    let next = sum.checked_add(*value)?;
                    *value = if exclusive { sum } else { next };
                    sum = next;
                }
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
        let [Dim::Known(rows), Dim::Known(columns)] = *x.shape else { return Err(format!("{x} is no matrix of known size")) };
        if rows.checked_mul(columns).is_none_or(|n| n > 1 << 22) {
            return Err(format!("an identity of the size of {x} is too large to be written as a constant"));
        }
        let places = (0..rows as i64).flat_map(|row| (0..columns as i64).map(move |column| (row, column)));
        let values: Vec<f64> = places.map(|(row, column)| f64::from(u8::from(row.checked_add(k) == Some(column)))).collect();
        let name = cx.outputs.first().cloned().unwrap_or_default();
        let eye = cx.graph.constant(&name, Tensor::from_floats(dtype, &[rows, columns], &values));
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
