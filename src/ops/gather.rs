//! Entries picked by index along one axis.

use super::blocks::image_index::image_index;
use super::blocks::indexed::added_up;
use crate::ir::{Attr, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{at, set, whole};
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, View, axis, fold};

/// With constant indices differentiable: each entry's gradient is the sum over the places that it was taken to.
pub struct Gather;

/// The index, counted from 0, of one that may count from the end of `size` entries.
fn from_zero(i: i64, size: usize) -> Rule<i64> {
    if i < 0 { (whole(size) + i).int() } else { Ok(i) }
}

/// From the elements of all images in one row: the same of every image. That is how PyTorch exports the strides of a mean.
///
/// The indices are those of one image, in a model that was exported with one; or they are computed of the image's number.
fn per_image(cx: &mut Import) -> Rule<bool> {
    let (x, shape) = (cx.input(0)?, cx.ty(0)?.shape.clone());
    let [Dim::Batch(size), behind @ ..] = &*shape else { return Ok(false) };
    let written = cx.constant(1).cloned().filter(|_| cx.declared_batch == Some(1));
    let freed = written.is_some();
    let of_number = |stride: i64| usize::try_from(stride).is_ok_and(|stride| stride == *size);
    let computed = || image_index(cx.graph, cx.input(1).ok()?).filter(|found| of_number(found.stride) && found.is_within(*size));
    let Some(indices) = written.or_else(|| computed().map(|found| found.offsets)) else { return Ok(false) };
    let Some((first, rest)) = indices.shape().split_first() else { return Ok(false) };
    if cx.batch_blocks != 1 {
        return Ok(false);
    }
    let apart = [&[Dim::Batch(1), Dim::Known(*size)], behind].concat();
    let rest: Vec<Dim> = rest.iter().map(|&n| Dim::Known(n)).collect();
    let together = [&[Dim::Batch(*first)], rest.as_slice(), behind].concat();
    let list = indices.to_i64().map_err(|e| e.to_string())?;
    let list = list.into_iter().map(|i| from_zero(i, *size)).collect::<Rule<Vec<_>>>()?;
    let mut b = cx.builder();
    let images = b.reshape(x, &apart)?;
    let picked = b.gather(images, 1, Tensor::from_i64(indices.shape(), &list))?;
    cx.replaced = Some(vec![b.reshape(picked, &together)?]);
    cx.freed_batch |= freed;
    Ok(true)
}

impl Operator for Gather {
    fn op_type(&self) -> &'static str {
        "Gather"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    /// Constant indices afterwards count from 0.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(0);
        let x = cx.ty(0)?;
        let a = axis(a, x.rank())?;
        let size = *x.shape.get(a).ok_or("it picks from a scalar")?;
        cx.set("axis", Attr::Int(a as i64));
        if a == 0 && per_image(cx)? {
            return Ok(());
        }
        let Some(indices) = cx.constant(1).cloned() else { return Ok(()) };
        let list = indices.to_i64().map_err(|e| e.to_string())?;
        if let (Dim::Batch(_), Some(i)) = (size, list.iter().find(|&&i| i < 0)) {
            return Err(format!("it picks entry {i} of the batch, counted from its end; rewrite with a fixed batch size"));
        }
        if let Dim::Known(size) = size {
            if let Some(i) = list.iter().find(|&&i| i < 0 && i.unsigned_abs() > size as u64) {
                return Err(format!("it picks entry {i} of {size}"));
            }
            if list.iter().any(|&i| i < 0) {
                let list = list.iter().map(|&i| from_zero(i, size)).collect::<Rule<Vec<_>>>()?;
                let indices = cx.add_constant("indices", Tensor::from_i64(indices.shape(), &list));
                set(&mut cx.inputs, 1, Some(indices))?;
            }
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, indices) = (n.ty(0)?, n.ty(1)?);
        let a = axis(n.node.int("axis", 0), x.rank())?;
        if x.rank() == 0 {
            return Err("it picks from a scalar".into());
        }
        if let (Some(size), Some(list)) = (at(&x.shape, a)?.known(), n.ints(1))
            && let Some(i) = list.iter().find(|&&i| usize::try_from(i).map_or(true, |i| i >= size))
        {
            return Err(format!("it picks entry {i} of {size}"));
        }
        let mut shape = x.shape.clone();
        shape.splice(a..=a, indices.shape.iter().copied());
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn source_axis(&self, n: &View, i: usize, axis: usize) -> Option<usize> {
        let (a, picks) = (usize::try_from(n.node.int("axis", 0)).ok()?, n.ty(1).ok()?.rank());
        match axis {
            _ if i != 0 => None,
            before if before < a => Some(before),
            behind if behind >= a.checked_add(picks)? => behind.checked_add(1)?.checked_sub(picks),
            _ => None,
        }
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, dy) = (b.ty(g.input(0)?).clone(), g.dy()?);
        let a = axis(g.node.int("axis", 0), x.rank())?;
        let view = View { graph: b.graph, node: &g.node };
        let indices = view.ints(1).ok_or("its indices are computed while the model runs; only constant ones are supported")?;
        let size = at(&x.shape, a)?.known().ok_or("it picks from the batch; rewrite with a fixed batch size")?;
        // The indices as one axis.
        let mut flat = x.shape.clone();
        set(&mut flat, a, Dim::Known(indices.len()))?;
        let dy = b.reshape(dy, &flat)?;
        let places = indices.iter().map(|&i| usize::try_from(i).map_err(|_| format!("it picks entry {i}"))).collect::<Rule<Vec<_>>>()?;
        Ok(vec![added_up(b, dy, a, &places, size)?, None])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let ty = self.infer(n).ok()?.pop()?;
        let indices = fold::constant(n, 1)?;
        let picks: Vec<usize> = indices.to_i64().ok()?.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        if let Some(elems) = fold::list(n, 0).filter(|_| ty.rank() <= 1) {
            return fold::known(&ty, picks.iter().map(|&i| elems.get(i).copied()).collect::<Option<_>>()?);
        }
        let t = fold::constant(n, 0)?;
        let a = axis(n.node.int("axis", 0), t.shape().len()).ok()?;
        fold::picked(t, a, &picks)?.reshaped(ty.dims()?).ok().map(Known::Tensor)
    }

    fn notes(&self) -> &'static str {
        "constant indices; those that are computed while the model runs have no gradient rule"
    }
}
