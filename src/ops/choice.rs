//! What constants choose: positions that are not zero, entries under a mask, a class among several; and the largest elements, which are refused.

use crate::ir::{Attr, Attrs, DType, Dim, Tensor, TensorType};
use crate::operator::{Import, Operator, Rule, Status, View, attrs, axis, fold, imported_as};

/// Where a constant is not zero: a constant.
pub struct NonZero;

impl Operator for NonZero {
    fn op_type(&self) -> &'static str {
        "NonZero"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let x = cx.constant(0).ok_or("how many elements are not zero is seen while the model runs; export the network without it")?.clone();
        let shape = if x.shape().is_empty() { vec![1] } else { x.shape().to_vec() };
        let set: Vec<usize> =
            x.to_f64().map_err(|e| e.to_string())?.iter().enumerate().filter(|(_, v)| **v != 0.0).map(|(i, _)| i).collect();
        let mut list = vec![];
        for (&size, stride) in shape.iter().zip(fold::strides(&shape)) {
            list.extend(set.iter().filter_map(|i| Some(i.checked_div(stride)?.checked_rem(size)? as i64)));
        }
        let name = cx.outputs.first().cloned().unwrap_or_default();
        let found = cx.graph.constant(&name, Tensor::from_i64(&[shape.len(), set.len()], &list));
        cx.replaced = Some(vec![found]);
        Ok(())
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        imported_as("a constant")
    }

    fn notes(&self) -> &'static str {
        "of constants; becomes a constant"
    }
}

/// The entries along an axis that a constant mask keeps, imported as Gather.
pub struct Compress;

impl Operator for Compress {
    fn op_type(&self) -> &'static str {
        "Compress"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let mask = cx.constant(1).and_then(|t| t.to_i64().ok());
        let mask = mask.ok_or("its condition is computed while the model runs; only constant ones are supported")?;
        let kept: Vec<i64> = mask.iter().enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| i as i64).collect();
        let x = cx.ty(0)?.clone();
        let along = cx.source.int("axis").map_err(|e| e.to_string())?;
        let (data, a) = match along {
            Some(a) => (cx.input(0)?, axis(a, x.rank())?),
            None => {
                let all = x.count().ok_or_else(|| format!("{x} has too many elements"))?;
                let data = cx.input(0)?;
                (cx.builder().reshape(data, &[all])?, 0)
            }
        };
        match cx.graph.ty(data).shape.get(a) {
            Some(Dim::Known(size)) if mask.len() <= *size => {}
            Some(Dim::Known(size)) => return Err(format!("its condition has {} elements for {size}", mask.len())),
            _ => return Err("it chooses among the images of a batch; rewrite with a fixed batch size".into()),
        }
        let mut b = cx.builder();
        let indices = b.constant(Tensor::from_i64(&[kept.len()], &kept));
        let picked = b.folded("Gather", &[data, indices], attrs([("axis", Attr::Int(a as i64))]))?;
        cx.replaced = Some(vec![picked]);
        Ok(())
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        imported_as("Gather")
    }

    fn notes(&self) -> &'static str {
        "constant condition; imported as Gather"
    }
}

/// A row of `off` with one `on` for each index, by comparing the index with every class.
pub struct OneHot;

impl Operator for OneHot {
    fn op_type(&self) -> &'static str {
        "OneHot"
    }

    fn status(&self) -> Status {
        Status::ZeroGradient
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let depth = match cx.constant(1).and_then(|t| t.to_f64().ok()).as_deref() {
            Some(&[depth]) if (1.0..=(1 << 24) as f64).contains(&depth) => depth as i64,
            _ => return Err("its depth (input 1) is computed while the model runs, or is no number of classes".into()),
        };
        let (indices, values) = (cx.input(0)?, cx.input(2)?);
        let rank = cx.ty(0)?.rank();
        let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(-1);
        let a = axis(a, rank.saturating_add(1))?;
        if cx.ty(2)?.shape != [Dim::Known(2)] {
            return Err(format!("its values {} are not two", cx.ty(2)?));
        }
        let mut b = cx.builder();
        let new = b.ints(&[a as i64]);
        let mut indices = b.folded("Unsqueeze", &[indices, new], Attrs::new())?;
        if b.dtype(indices) != DType::I64 {
            indices = b.folded("Cast", &[indices], attrs([("to", Attr::Int(DType::I64.onnx() as i64))]))?;
        }
        // An index may count from the end.
        let shape: Vec<usize> = (0..=rank).map(|i| if i == a { depth as usize } else { 1 }).collect();
        let classes = |first: i64| Tensor::from_i64(&shape, &(first..).take(depth as usize).collect::<Vec<_>>());
        let (ahead, behind) = (b.constant(classes(0)), b.constant(classes(depth.saturating_neg())));
        let ahead = b.op("Equal", &[indices, ahead], Attrs::new())?;
        let behind = b.op("Equal", &[indices, behind], Attrs::new())?;
        let hit = b.op("Or", &[ahead, behind], Attrs::new())?;
        let mut value = |i: i64, end: i64| b.slice(values, &[0], &[i], &[end], &[1]);
        let (off, on) = (value(0, 1)?, value(1, 2)?);
        cx.replaced = Some(vec![b.op("Where", &[hit, on, off], Attrs::new())?]);
        Ok(())
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        imported_as("a comparison")
    }

    fn notes(&self) -> &'static str {
        "constant depth; imported as Equal and Where"
    }
}

/// The largest elements of each row.
pub struct TopK;

impl Operator for TopK {
    fn op_type(&self) -> &'static str {
        "TopK"
    }

    fn status(&self) -> Status {
        Status::Refused(
            "which elements are largest is seen while the model runs, and a choice by such indices has no gradient rule; export the network without it, or cut it off behind the logits",
        )
    }

    fn infer(&self, _: &View) -> Rule<Vec<TensorType>> {
        Err("it is refused".into())
    }
}
