//! Elements added around a tensor.

use crate::ir::{Attr, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{Whole, set, whole};
use crate::operator::{Builder, Facts, Grad, Import, Operator, Reordered, Rule, View, attrs, distinct_axes, floating};

/// Padding with a constant, with the nearest element (`edge`), mirrored (`reflect`) or from the other end (`wrap`, which becomes slices). The gradient is the middle of `dy`,
/// plus what the copies in the padding add.
pub struct Pad;

/// Padding per axis of a canonical node: at the begins and at the ends, never negative.
fn amounts(n: &View) -> Rule<(Vec<usize>, Vec<usize>)> {
    let x = n.ty(0)?;
    let pads = n.known_ints(1, "the padding")?;
    if pads.len() != x.rank().saturating_mul(2) {
        return Err(format!("{} numbers of padding do not fit {x}", pads.len()));
    }
    let pads = pads.iter().map(|&p| usize::try_from(p).ok().filter(|&p| p <= 1 << 40)).collect::<Option<Vec<_>>>();
    let mut begin = pads.ok_or("its padding is out of range")?;
    let end = begin.split_off(x.rank());
    Ok((begin, end))
}

/// The source's padding for all axes; it may be negative.
fn source_amounts(cx: &mut Import, rank: usize) -> Rule<(Vec<i64>, Vec<i64>)> {
    cx.ints_to_input("pads", 1)?;
    let known = |cx: &Import, i: usize| {
        let list = cx.constant(i).and_then(|t| t.to_i64().ok());
        list.ok_or_else(|| format!("its padding (input {i}) is computed while the model runs; export the network with constant shapes"))
    };
    let given = known(cx, 1)?;
    let axes = if cx.has(3) { known(cx, 3)? } else { (0..rank as i64).collect() };
    let (before, behind) = given.split_at(axes.len().min(given.len()));
    if behind.len() != axes.len() || given.iter().any(|p| p.unsigned_abs() > 1 << 40) {
        return Err(format!("its padding {given:?} does not fit {} axes", axes.len()));
    }
    let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
    for (a, (&before, &behind)) in distinct_axes(&axes, rank)?.into_iter().zip(before.iter().zip(behind)) {
        *begin.get_mut(a).ok_or("it pads a scalar")? = before;
        set(&mut end, a, behind)?;
    }
    Ok((begin, end))
}

impl Operator for Pad {
    fn op_type(&self) -> &'static str {
        "Pad"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, ..Facts::PICKS }
    }

    /// Afterwards the padding is a constant for all axes and not negative, and the value is a scalar.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let x = cx.ty(0)?.clone();
        let dtype = floating(&x)?;
        let mode = cx.string("mode", "constant")?;
        if !["constant", "edge", "reflect", "wrap"].contains(&mode.as_str()) {
            return Err(format!("its mode \"{mode}\" is not one of ONNX's: constant, edge, reflect and wrap"));
        }
        let value = match cx.source.float("value").map_err(|e| e.to_string())? {
            Some(v) => v as f64,
            None if cx.has(2) => {
                let value = cx.constant(2).filter(|t| t.count() == 1).and_then(|t| t.to_f64().ok()?.first().copied());
                value.ok_or("the number to pad with is computed while the model runs; export it as a constant")?
            }
            None => 0.0,
        };
        let (begin, end) = source_amounts(cx, x.rank())?;
        let mut source = cx.input(0)?;
        if begin.iter().chain(&end).any(|&p| p < 0) {
            if mode != "constant" {
                return Err(format!("negative padding with mode \"{mode}\" is not supported"));
            }
            source = cx.builder().crop(source, &begin, &end)?;
        }
        if mode == "wrap" {
            cx.replaced = Some(vec![wrapped(&mut cx.builder(), source, &begin, &end)?]);
            return Ok(());
        }
        let pads: Vec<i64> = begin.iter().chain(&end).map(|&p| p.max(0)).collect();
        if pads.iter().all(|&p| p == 0) {
            cx.op_type = "Identity".into();
            cx.inputs = vec![Some(source)];
            return Ok(());
        }
        let pads = cx.add_constant("pads", Tensor::from_i64(&[pads.len()], &pads));
        cx.inputs = vec![Some(source), Some(pads)];
        if mode == "constant" {
            let value = cx.add_constant("value", Tensor::from_floats(dtype, &[], &[value]));
            cx.inputs.push(Some(value));
        }
        cx.set("mode", Attr::String(mode));
        Ok(())
    }

    fn settings(&self) -> &'static [usize] {
        &[2]
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let mut ty = n.ty(0)?.clone();
        let (begin, end) = amounts(n)?;
        for (d, (&before, &behind)) in ty.shape.iter_mut().zip(begin.iter().zip(&end)) {
            match *d {
                _ if before == 0 && behind == 0 => {}
                Dim::Batch(_) => return Err("it pads the batch; rewrite with a fixed batch size".into()),
                Dim::Known(n) => {
                    let padded = n.checked_add(before).and_then(|n| n.checked_add(behind));
                    *d = Dim::Known(padded.ok_or("its result is impossibly large")?);
                }
            }
        }
        if n.node.string("mode") == "reflect"
            && let Some((i, ((before, behind), _))) = { begin.iter().zip(&end).zip(&n.ty(0)?.shape).enumerate() }
                .find(|(_, ((before, behind), d))| d.known().is_some_and(|size| **before.max(behind) >= size.max(1)))
        {
            return Err(format!("axis {i} is too short to be mirrored by {before} and {behind} elements"));
        }
        Ok(vec![ty])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let shape = b.shape(g.input(0)?).to_vec();
        let (begin, end) = amounts(&View { graph: b.graph, node: &g.node })?;
        let mut dx = g.dy()?;
        let mut cotangents = vec![None; g.node.inputs.len()];
        if g.node.string("mode") == "constant" {
            let negative = |v: &[usize]| v.iter().map(|&p| (-whole(p)).int()).collect::<Rule<Vec<_>>>();
            set(&mut cotangents, 0, Some(b.crop(dx, &negative(&begin)?, &negative(&end)?)?))?;
            return Ok(cotangents);
        }
        for (a, (d, (&begin, &end))) in
            { shape.iter().zip(begin.iter().zip(&end)).enumerate() }.filter(|(_, (_, (a, b)))| **a > 0 || **b > 0)
        {
            let size = d.known().ok_or("it pads the batch; rewrite with a fixed batch size")?;
            dx = fold_back(b, dx, a, size, (begin, end), g.node.string("mode") == "edge")?;
        }
        set(&mut cotangents, 0, Some(dx))?;
        Ok(cotangents)
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        let pads = n.ints(1).filter(|pads| pads.len() == order.len().saturating_mul(2))?;
        let moved = |part: &[i64]| order.iter().map(|&a| part.get(a).copied()).collect::<Option<Vec<_>>>();
        let (begin, end) = pads.split_at_checked(order.len())?;
        let pads = [moved(begin)?, moved(end)?].concat();
        Some(Reordered { attrs: n.node.attrs.clone(), constants: vec![(1, Tensor::from_i64(&[pads.len()], &pads))] })
    }

    fn notes(&self) -> &'static str {
        "modes constant, edge, reflect and wrap; constant padding, which may be negative with mode constant"
    }
}

/// `x` between its own ends, which opset 17 has no mode for.
fn wrapped(b: &mut Builder, x: ValueId, begin: &[i64], end: &[i64]) -> Rule<ValueId> {
    let mut y = x;
    for (a, (&before, &behind)) in begin.iter().zip(end).enumerate().filter(|(_, (before, behind))| **before > 0 || **behind > 0) {
        let size = b.shape(y).get(a).and_then(|d| d.known()).ok_or("it pads the batch; rewrite with a fixed batch size")? as i64;
        if before > size || behind > size {
            return Err(format!("axis {a} is too short to be wrapped around by {before} and {behind} elements"));
        }
        let mut parts = vec![y];
        if before > 0 {
            parts.insert(0, b.slice(y, &[a], &[(whole(size) - before).int()?], &[size], &[1])?);
        }
        if behind > 0 {
            parts.push(b.slice(y, &[a], &[0], &[behind], &[1])?);
        }
        y = b.concat(&parts, a)?;
    }
    Ok(y)
}

/// Adds the cotangents of the copies in the padding along axis `a` to those of the elements they are copies of.
fn fold_back(b: &mut Builder, dy: ValueId, a: usize, size: usize, (begin, end): (usize, usize), edge: bool) -> Rule<ValueId> {
    let rank = b.rank(dy);
    let along = |n: Whole| -> Rule<Vec<i64>> {
        let n = n.int()?;
        Ok((0..rank).map(|i| if i == a { n } else { 0 }).collect())
    };
    let (last, behind) = (whole(size) - 1usize, whole(begin) + size);
    let mut parts = vec![b.slice(dy, &[a], &[begin as i64], &[behind.int()?], &[1])?];
    // Padding, where it starts in dy, the element that an edge repeats, the first element that a mirror holds copies of.
    for (count, from, copied, first) in [(begin, whole(0usize), whole(0usize), whole(1usize)), (end, behind, last, last - end)] {
        if count == 0 {
            continue;
        }
        let part = b.slice(dy, &[a], &[from.int()?], &[(from + count).int()?], &[1])?;
        parts.push(if edge {
            let sum = b.sum(part, &[a], true)?;
            b.pad(sum, &along(copied)?, &along(last - copied)?, 0.0)?
        } else {
            let mirrored = b.turned(part, &[a])?;
            b.pad(mirrored, &along(first)?, &along(whole(size) - first - count)?, 0.0)?
        });
    }
    b.total(&parts)
}

impl Builder<'_> {
    /// Constant padding: `begin` and `end` per axis, negative to crop.
    pub fn pad(&mut self, a: ValueId, begin: &[i64], end: &[i64], value: f64) -> Rule<ValueId> {
        let a = self.crop(a, begin, end)?;
        let pads: Vec<i64> = begin.iter().chain(end).map(|&p| p.max(0)).collect();
        if pads.iter().all(|&p| p == 0) {
            return Ok(a);
        }
        let pads = self.ints(&pads);
        let value = self.constant(Tensor::from_floats(self.dtype(a), &[], &[value]));
        self.apply(&Pad, &[a, pads, value], attrs([("mode", Attr::String("constant".into()))]))
    }
}
