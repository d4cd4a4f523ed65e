//! Entries picked by tuples of indices, and elements picked one by one. Both are imported as a Gather from a list.

use super::blocks::entries::{Entries, RUNTIME, Tuples};
use crate::ir::{Attr, Tensor, TensorType};
use crate::operator::{Facts, Import, Operator, Rule, View, axis};

/// The entries of input 0 that constant tuples name.
fn picked(cx: &mut Import, tuples: Tuples) -> Rule<()> {
    let (x, ty) = (cx.input(0)?, cx.ty(0)?.clone());
    let (entries, tuples) = Entries::new(cx, &ty, tuples)?;
    let numbers: Vec<i64> = entries.numbers(&tuples)?.into_iter().map(|n| n as i64).collect();
    let mut b = cx.builder();
    let list = entries.listed(&mut b, x)?;
    let indices = b.constant(Tensor::from_i64(&tuples.shape, &numbers));
    let picked = b.folded("Gather", &[list, indices], crate::operator::attrs([("axis", Attr::Int(entries.axis() as i64))]))?;
    cx.replaced = Some(vec![picked]);
    Ok(())
}

/// Along the last axis of the indices lies a tuple for the leading axes of the data.
pub struct GatherND;

impl Operator for GatherND {
    fn op_type(&self) -> &'static str {
        "GatherND"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let shared = usize::try_from(cx.int("batch_dims", 0)?).map_err(|_| "its `batch_dims` is negative")?;
        let Some(indices) = cx.constant(1).cloned() else { return Ok(()) };
        let tuples = Tuples::along_last_axis(&indices)?;
        if shared > tuples.shape.len() || shared.saturating_add(tuples.width) > cx.ty(0)?.rank() {
            return Err(format!("its indices {:?} with {shared} shared axes do not fit {}", indices.shape(), cx.ty(0)?));
        }
        let shape = &cx.ty(0)?.shape;
        if tuples.shape.iter().zip(shape).take(shared).any(|(&n, d)| d.known().is_some_and(|d| d != n)) {
            return Err(format!("its indices {:?} do not have the {shared} leading axes of {}", indices.shape(), cx.ty(0)?));
        }
        picked(cx, tuples.within(shared)?)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, indices) = (n.ty(0)?, n.ty(1)?);
        let shared = usize::try_from(n.node.int("batch_dims", 0)).map_err(|_| "its `batch_dims` is negative")?;
        let (width, outer) = indices.shape.split_last().ok_or("its indices are a scalar")?;
        let width = width.known().ok_or("its tuples of indices are as long as the batch")?;
        let rest = x.shape.get(shared.saturating_add(width)..).ok_or_else(|| format!("it has {width} indices for {x}"))?;
        Ok(vec![TensorType { dtype: x.dtype, shape: [outer, rest].concat() }])
    }

    fn gradient(&self, _: &mut crate::operator::Builder, _: &crate::operator::Grad) -> Rule<Vec<Option<crate::ir::ValueId>>> {
        Err(RUNTIME.into())
    }

    fn notes(&self) -> &'static str {
        "constant indices; imported as Gather"
    }
}

/// One index along an axis for each element of the result.
pub struct GatherElements;

impl Operator for GatherElements {
    fn op_type(&self) -> &'static str {
        "GatherElements"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let along = cx.int("axis", 0)?;
        let rank = cx.ty(0)?.rank();
        let along = axis(along, rank)?;
        cx.set("axis", Attr::Int(along as i64));
        let Some(indices) = cx.constant(1).cloned() else { return Ok(()) };
        if indices.shape().len() != rank || rank == 0 {
            return Err(format!("its indices of shape {:?} do not fit {}", indices.shape(), cx.ty(0)?));
        }
        picked(cx, Tuples::of_elements(&indices, along)?)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![TensorType { dtype: n.ty(0)?.dtype, shape: n.ty(1)?.shape.clone() }])
    }

    fn gradient(&self, _: &mut crate::operator::Builder, _: &crate::operator::Grad) -> Rule<Vec<Option<crate::ir::ValueId>>> {
        Err(RUNTIME.into())
    }

    fn notes(&self) -> &'static str {
        "constant indices; imported as Gather"
    }
}
