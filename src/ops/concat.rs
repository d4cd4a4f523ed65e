//! Tensors joined along one axis.

use crate::ir::{Attr, Dim, Elem, Tensor, TensorType, ValueId};
use crate::operator::checked::{at, set, times, whole};
use crate::operator::{Builder, Facts, Grad, Half, Import, Known, Operator, Reordered, Rule, View, attrs, axis, fold};

/// Each input's gradient is its part of `dy`.
pub struct Concat;

/// The sum of two lengths along the joined axis.
fn joined(a: Dim, b: Dim) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(0), d) | (d, Dim::Known(0)) => Some(d),
        (Dim::Known(a), Dim::Known(b)) => a.checked_add(b).map(Dim::Known),
        (Dim::Batch(a), Dim::Batch(b)) => a.checked_add(b).map(Dim::Batch),
        _ => None,
    }
}

/// What stands once beside a batch, in a model that was exported with one image, stands beside every image: a class token.
fn free_batch(cx: &mut Import, along: usize) -> Rule<()> {
    if cx.declared_batch != Some(1) {
        return Ok(());
    }
    let rank = cx.ty(0)?.rank();
    for at in (0..rank).filter(|&d| d != along) {
        let dim = |cx: &Import, i: usize| cx.ty(i).ok().and_then(|t| t.shape.get(at).copied());
        let Some(images) = (0..cx.inputs.len()).find(|&i| dim(cx, i) == Some(Dim::Batch(1))) else { continue };
        let images = cx.input(images)?;
        for i in (0..cx.inputs.len()).filter(|&i| dim(cx, i) == Some(Dim::Known(1))).collect::<Vec<_>>() {
            let one = cx.input(i)?;
            let repeated = cx.builder().for_each_image(one, images, at)?;
            set(&mut cx.inputs, i, Some(repeated))?;
            cx.freed_batch = true;
        }
    }
    Ok(())
}

impl Operator for Concat {
    fn op_type(&self) -> &'static str {
        "Concat"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let a = cx.source.int("axis").map_err(|e| e.to_string())?.ok_or("it does not say along which axis")?;
        let a = axis(a, cx.ty(0)?.rank())?;
        cx.set("axis", Attr::Int(a as i64));
        free_batch(cx, a)?;
        // Batches one after the other.
        if (0..cx.inputs.len()).all(|i| cx.ty(i).is_ok_and(|t| t.shape.get(a) == Some(&Dim::Batch(1)))) {
            cx.batch_blocks = cx.inputs.len();
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let mut ty = n.ty(0)?.clone();
        let a = axis(n.node.int("axis", 0), ty.rank())?;
        if ty.rank() == 0 {
            return Err("scalars cannot be joined".into());
        }
        for i in 1..n.node.inputs.len() {
            let other = n.ty(i)?;
            let alike = |(d, (a_own, b_own)): (usize, (&Dim, &Dim))| d == a || a_own == b_own;
            let fits = other.rank() == ty.rank() && other.dtype == ty.dtype && ty.shape.iter().zip(&other.shape).enumerate().all(alike);
            let lengths = ty.shape.get_mut(a).zip(other.shape.get(a)).filter(|_| fits);
            let length = lengths.and_then(|(own, other)| Some((joined(*own, *other)?, own)));
            let (length, own) = length.ok_or_else(|| {
                format!("{} and {other} cannot be joined along axis {a}", n.ty(0).map_or(String::new(), |t| t.to_string()))
            })?;
            *own = length;
        }
        Ok(vec![ty])
    }

    fn facts(&self) -> Facts {
        Facts { moves: true, half: Half::Exact, ..Facts::NONE }
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        Reordered::along(n, order)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        let a = axis(g.node.int("axis", 0), b.rank(dy))?;
        let mut cotangents = vec![];
        let mut start = 0i64;
        for i in 0..g.node.inputs.len() {
            let size = at(b.shape(g.input(i)?), a)?.known().ok_or("it joins along the batch axis; rewrite with a fixed batch size")?;
            let end = (whole(start) + size).int()?;
            cotangents.push(if g.needs(i) { Some(b.slice(dy, &[a], &[start], &[end], &[1])?) } else { None });
            start = end;
        }
        Ok(cotangents)
    }

    fn source_axis(&self, n: &View, i: usize, axis: usize) -> Option<usize> {
        n.ty(i).is_ok_and(|t| t.dtype.is_float()).then_some(axis)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let ty = self.infer(n).ok()?.pop()?;
        if ty.rank() == 1 {
            let parts: Option<Vec<Vec<Elem>>> = (0..n.node.inputs.len()).map(|i| fold::list(n, i)).collect();
            return fold::known(&ty, parts?.concat());
        }
        let parts: Vec<&Tensor> = (0..n.node.inputs.len()).map(|i| fold::constant(n, i)).collect::<Option<_>>()?;
        let a = axis(n.node.int("axis", 0), ty.rank()).ok()?;
        // Outer positions in order, and of each the parts in order: rows of `inner` bytes.
        let outer = times(parts.first()?.shape().get(..a)?).ok()?;
        let mut rows = vec![];
        for t in parts {
            rows.push(t.bytes().chunks(t.bytes().len().checked_div(outer).unwrap_or(0).max(1)));
        }
        let mut bytes = vec![];
        for _ in 0..outer {
            rows.iter_mut().filter_map(Iterator::next).for_each(|row| bytes.extend_from_slice(row));
        }
        Tensor::new(ty.dtype, ty.dims()?, bytes).ok().map(Known::Tensor)
    }
}

impl Builder<'_> {
    /// The parts side by side along `axis`; the one part itself where there is no other.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Rule<ValueId> {
        match parts {
            [one] => Ok(*one),
            _ => self.apply(&Concat, parts, attrs([("axis", Attr::Int(axis as i64))])),
        }
    }
}
