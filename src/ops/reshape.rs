//! Operators that keep all elements in order under another shape; their gradient has the input's shape again.

use crate::ir::{Attr, Dim, Elem, Tensor, TensorType, ValueId, product};
use crate::operator::checked::set;
use crate::operator::{Builder, Facts, Grad, Half, Import, Known, Operator, Rule, View, attrs, axis, fold};

/// `dx`: `dy` under the shape of `x`.
fn back(b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
    let shape = b.shape(g.input(0)?).to_vec();
    let mut cotangents = vec![None; g.node.inputs.len()];
    set(&mut cotangents, 0, Some(b.reshape(g.dy()?, &shape)?))?;
    Ok(cotangents)
}

/// To the shape in input 1, where 0 keeps a dimension and −1 stands for what is left.
pub struct Reshape;

/// What a requested shape comes to.
fn resolve(x: &TensorType, wanted: &[Elem], allow_zero: bool) -> Rule<Vec<Dim>> {
    let shown = || {
        let elem = |e: &Elem| match e {
            Elem::Int(v) => v.to_string(),
            Elem::Batch(k) => Dim::Batch(*k).to_string(),
        };
        wanted.iter().map(elem).collect::<Vec<_>>().join(", ")
    };
    let mut open = None;
    let mut shape = vec![];
    for (i, e) in wanted.iter().enumerate() {
        shape.push(match *e {
            Elem::Batch(k) => Dim::Batch(k),
            Elem::Int(0) if !allow_zero => *x.shape.get(i).ok_or_else(|| format!("it keeps dimension {i} of {x}, which has none"))?,
            Elem::Int(-1) if open.replace(i).is_none() => Dim::Known(1),
            Elem::Int(v) => Dim::Known(usize::try_from(v).map_err(|_| format!("[{}] is no shape", shown()))?),
        });
    }
    let misfit = || {
        format!("{x} cannot become [{}]: if the batch size is written into the model, export it with a dynamic batch dimension", shown())
    };
    let count = x.count().ok_or_else(misfit)?;
    let rest = product(&shape).ok_or_else(misfit)?;
    let Some(open) = open else {
        return if rest == count { Ok(shape) } else { Err(misfit()) };
    };
    let divide = |a: usize, b: usize| divided(a, b).ok_or_else(misfit);
    let left = match (count, rest) {
        (Dim::Known(a), Dim::Known(b)) | (Dim::Batch(a), Dim::Batch(b)) => Dim::Known(divide(a, b)?),
        (Dim::Batch(a), Dim::Known(b)) => Dim::Batch(divide(a, b)?),
        (Dim::Known(_), Dim::Batch(_)) => return Err(misfit()),
    };
    set(&mut shape, open, left)?;
    Ok(shape)
}

/// `a / b`, where that is a whole number.
fn divided(a: usize, b: usize) -> Option<usize> {
    a.checked_div(b).filter(|_| a.is_multiple_of(b))
}

/// The shape that is meant where an exporter, shown one batch of `declared` images, wrote that number down, and in how many blocks its batch lies:
/// the elements of `x` keep their order, so the axis of the batch is one with as many elements before the batch as in `x`. Where several axes can have
/// it, the likeliest comes first. `None` where nothing has to be freed: `x` does not depend on the batch, or the shape says so itself, or the numbers
/// are no shape of `x` for any batch.
fn free_batch(x: &TensorType, outer: usize, wanted: &[Elem], allow_zero: bool, declared: usize) -> Option<Vec<(Vec<Dim>, usize)>> {
    let size = |d: &Dim| match d {
        Dim::Known(n) => Some(*n),
        Dim::Batch(k) => k.checked_mul(declared),
    };
    let count = |sizes: &[usize]| sizes.iter().try_fold(1usize, |a, &b| a.checked_mul(b));
    let sizes: Vec<usize> = x.shape.iter().map(size).collect::<Option<_>>()?;
    let at = batch_axis(x)?;
    let before = count(sizes.get(..at)?)?.checked_mul(outer)?;
    let mut open = None;
    let mut shape = vec![];
    for (i, e) in wanted.iter().enumerate() {
        shape.push(match *e {
            Elem::Batch(_) => return None,
            Elem::Int(0) if !allow_zero => *sizes.get(i)?,
            Elem::Int(-1) if open.replace(i).is_none() => 1,
            Elem::Int(v) => usize::try_from(v).ok()?,
        });
    }
    let (all, rest) = (count(&sizes)?, count(&shape)?);
    match open {
        Some(open) => *shape.get_mut(open)? = divided(all, rest)?,
        None if rest == all => {}
        _ => return None,
    }
    // Blocks of the batch within each axis that can have it.
    let blocks = |i: usize| {
        let blocks = divided(before, count(shape.get(..i)?)?)?;
        shape.get(i)?.is_multiple_of(blocks.checked_mul(declared)?).then_some(blocks)
    };
    let mut possible: Vec<(usize, usize)> = (0..shape.len()).filter_map(|i| Some((i, blocks(i)?))).collect();
    // Where there are several: one of its own; one with the same axes behind it, as before a matrix product, whole or joined;
    // one that it begins.
    let behind = |list: &[usize], i: usize| list.iter().skip(i).skip(1).copied().collect::<Vec<_>>();
    let after = behind(&sizes, at);
    possible.sort_by_key(|&(i, blocks)| match blocks {
        _ if shape.get(i) == Some(&declared) => 0,
        _ if !after.is_empty() && merges(&after, &behind(&shape, i)) => 1,
        1 => 2,
        _ => 3,
    });
    let freed = |axis: usize| {
        let dim = |(i, &n): (usize, &usize)| if i == axis { n.checked_div(declared).map(Dim::Batch) } else { Some(Dim::Known(n)) };
        shape.iter().enumerate().map(dim).collect::<Option<Vec<_>>>()
    };
    let readings = possible.into_iter().map(|(axis, blocks)| Some((freed(axis)?, blocks))).collect::<Option<Vec<_>>>()?;
    Some(readings).filter(|r| !r.is_empty())
}

/// Whether each of the axes `to` is one of `from`, or some neighbours of it together.
fn merges(from: &[usize], to: &[usize]) -> bool {
    let mut from = from.iter();
    let whole = |&size: &usize| {
        let mut joined = 1usize;
        while joined < size {
            let Some(next) = from.next().and_then(|next| joined.checked_mul(*next)) else { return false };
            joined = next;
        }
        joined == size
    };
    to.iter().all(whole) && from.all(|&n| n == 1)
}

/// The axis that depends on the batch.
fn batch_axis(x: &TensorType) -> Option<usize> {
    x.shape.iter().position(|d| d.known().is_none())
}

/// In how many blocks the batch lies after the elements of `x`, where it lies in `outer`, were brought under another shape.
fn blocks_after(x: &TensorType, outer: usize, to: &[Dim]) -> Option<usize> {
    let count = |dims: &[Dim]| product(dims)?.known();
    let before = count(x.shape.get(..batch_axis(x)?)?)?.checked_mul(outer)?;
    let ahead = count(to.get(..to.iter().position(|d| d.known().is_none())?)?)?;
    divided(before, ahead)
}

/// The list that says a shape: -1 for the dimension that depends on the batch.
pub(crate) fn spelled(shape: &[Dim]) -> Rule<Vec<i64>> {
    if shape.iter().filter(|d| d.known().is_none()).count() > 1 {
        return Err("two dimensions depend on the batch size; rewrite with a fixed batch size".into());
    }
    Ok(shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect())
}

impl Operator for Reshape {
    fn op_type(&self) -> &'static str {
        "Reshape"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, keeps_classes: true, half: Half::Exact, ..Facts::NONE }
    }

    /// Writes the shape as a constant, so that nothing of the shape's computation is left.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let allow_zero = cx.source.int("allowzero").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
        let wanted =
            cx.elems(1).ok_or("the new shape (input 1) is computed while the model runs; export the network with constant shapes")?;
        let x = cx.ty(0)?.clone();
        let plain = resolve(&x, &wanted, allow_zero);
        let readings =
            cx.declared_batch.and_then(|declared| free_batch(&x, cx.batch_blocks, &wanted, allow_zero, declared)).unwrap_or_default();
        cx.readings = readings.len();
        let freed = readings.get(cx.reading).or(readings.first()).cloned();
        let (shape, blocks) = match freed {
            Some((freed, blocks)) => {
                cx.freed_batch |= plain.as_ref() != Ok(&freed);
                (freed, blocks)
            }
            None => {
                let plain = plain?;
                let blocks = blocks_after(&x, cx.batch_blocks, &plain);
                (plain, blocks.unwrap_or(1))
            }
        };
        cx.batch_blocks = blocks;
        let dims = spelled(&shape)?;
        // A zero would say "keep": only a tensor without elements has one.
        cx.set("allowzero", Attr::Int(dims.contains(&0) as i64));
        let constant = cx.add_constant("shape", Tensor::from_i64(&[dims.len()], &dims));
        cx.inputs = vec![Some(cx.input(0)?), Some(constant)];
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let wanted = fold::list(n, 1).ok_or("the new shape is not known")?;
        Ok(vec![TensorType { dtype: x.dtype, shape: resolve(x, &wanted, n.node.int("allowzero", 0) != 0)? }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        back(b, g)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::reshaped(n, self.infer(n).ok()?.first()?)
    }

    fn shape_operand(&self, n: &View) -> Rule<Option<Tensor>> {
        let [ty] = &*self.infer(n)? else { return Ok(None) };
        let dims = spelled(&ty.shape)?;
        Ok(Some(Tensor::from_i64(&[dims.len()], &dims)))
    }

    fn notes(&self) -> &'static str {
        "the new shape must follow from constants and from shapes"
    }
}

/// To a matrix: everything before `axis`, everything from it on.
pub struct Flatten;

impl Operator for Flatten {
    fn op_type(&self) -> &'static str {
        "Flatten"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, keeps_classes: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let rank = cx.ty(0)?.rank() as i64;
        let given = cx.int("axis", 1)?;
        let a = if given < 0 { given.saturating_add(rank) } else { given };
        let x = cx.ty(0)?;
        let parts = usize::try_from(a).ok().and_then(|a| x.shape.split_at_checked(a));
        let (rows, columns) = parts.ok_or_else(|| format!("axis {given} does not exist in a tensor of rank {rank}"))?;
        let to = [product(rows), product(columns)].map(|d| d.unwrap_or(Dim::Known(0)));
        cx.batch_blocks = blocks_after(x, cx.batch_blocks, &to).unwrap_or(1);
        cx.set("axis", Attr::Int(a));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let parts = usize::try_from(n.node.int("axis", 1)).ok().and_then(|a| x.shape.split_at_checked(a));
        let (rows, columns) = parts.ok_or("its axis does not exist")?;
        let part = |dims: &[Dim]| product(dims).ok_or_else(|| format!("{x} has too many elements to flatten"));
        Ok(vec![TensorType { dtype: x.dtype, shape: vec![part(rows)?, part(columns)?] }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        back(b, g)
    }
}

/// Sorts the list of axes at input 1 and makes it count from 0: not every runtime gets other forms right.
fn from_zero(cx: &mut Import, rank: usize) -> Rule<()> {
    let list = cx.constant(1).and_then(|t| t.to_i64().ok());
    let list = list.ok_or("the list of axes (input 1) is computed while the model runs; export the network with constant shapes")?;
    let mut axes = list.iter().map(|&a| axis(a, rank).map(|a| a as i64)).collect::<Rule<Vec<_>>>()?;
    axes.sort_unstable();
    if axes != list {
        let axes = cx.add_constant("axes", Tensor::from_i64(&[axes.len()], &axes));
        set(&mut cx.inputs, 1, Some(axes))?;
    }
    Ok(())
}

/// Without the given axes, which have length 1.
pub struct Squeeze;

impl Operator for Squeeze {
    fn op_type(&self) -> &'static str {
        "Squeeze"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, keeps_classes: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.ints_to_input("axes", 1)?;
        if cx.has(1) {
            let rank = cx.ty(0)?.rank();
            return from_zero(cx, rank);
        }
        let shape = &cx.ty(0)?.shape;
        let axes: Vec<i64> = (0..).zip(shape).filter(|(_, d)| **d == Dim::Known(1)).map(|(a, _)| a).collect();
        let axes = cx.add_constant("axes", Tensor::from_i64(&[axes.len()], &axes));
        cx.inputs = vec![Some(cx.input(0)?), Some(axes)];
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let list = n.known_ints(1, "the list of axes")?;
        let gone = list.iter().map(|&a| axis(a, x.rank())).collect::<Rule<Vec<_>>>()?;
        if let Some(a) = gone.iter().find(|&&a| x.shape.get(a) != Some(&Dim::Known(1))) {
            return Err(format!("axis {a} of {x} is not of length 1"));
        }
        let shape = x.shape.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, d)| *d).collect();
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        back(b, g)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::reshaped(n, self.infer(n).ok()?.first()?)
    }
}

/// With new axes of length 1 at the given places of the result.
pub struct Unsqueeze;

impl Operator for Unsqueeze {
    fn op_type(&self) -> &'static str {
        "Unsqueeze"
    }

    fn facts(&self) -> Facts {
        Facts { view: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.ints_to_input("axes", 1)?;
        let count = cx.constant(1).map_or(0, Tensor::count);
        let rank = cx.ty(0)?.rank().saturating_add(count);
        from_zero(cx, rank)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let list = n.known_ints(1, "the list of axes")?;
        let rank = x.rank().saturating_add(list.len());
        let mut new = list.iter().map(|&a| axis(a, rank)).collect::<Rule<Vec<_>>>()?;
        new.sort_unstable();
        new.dedup();
        if new.len() != list.len() {
            return Err(format!("it names an axis twice: {list:?}"));
        }
        let mut old = x.shape.iter();
        let shape = (0..rank).map(|i| if new.contains(&i) { Some(Dim::Known(1)) } else { old.next().copied() });
        Ok(vec![TensorType { dtype: x.dtype, shape: shape.flatten().collect() }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        back(b, g)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        fold::reshaped(n, self.infer(n).ok()?.first()?)
    }
}

impl Builder<'_> {
    /// Brings `a` into `shape`, in which one dimension may be a multiple of the batch size.
    pub fn reshape(&mut self, a: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        if self.shape(a) == shape {
            return Ok(a);
        }
        if shape.iter().filter(|d| d.known().is_none()).count() > 1 {
            return Err("two dimensions depend on the batch size; rewrite with a fixed batch size".into());
        }
        let dims: Vec<i64> = shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect();
        let dims = self.ints(&dims);
        let out = self.apply(&Reshape, &[a, dims], attrs([("allowzero", Attr::Int(0))]))?;
        debug_assert_eq!(self.shape(out), shape);
        Ok(out)
    }
}
