//! One tensor cut into several along one axis.

use crate::ir::{Attr, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{at, set, whole};
use crate::operator::{Builder, Facts, Grad, Half, Import, Operator, Reordered, Rule, View, axis};

/// The gradient joins the outputs' gradients; those of unused outputs are zero.
pub struct Split;

/// Sizes of the parts where the source does not list them.
fn equal_parts(cx: &mut Import, a: usize) -> Rule<Vec<i64>> {
    let parts = cx.source.int("num_outputs").map_err(|e| e.to_string())?.unwrap_or(cx.outputs.len() as i64);
    let size = cx.ty(0)?.shape.get(a).and_then(|d| d.known()).ok_or("it splits the batch; rewrite with a fixed batch size")? as i64;
    if parts < 1 || parts > size || parts != cx.outputs.len() as i64 {
        return Err(format!("it splits {size} elements into {parts} parts for {} outputs", cx.outputs.len()));
    }
    if cx.opset < 18 && size.checked_rem(parts) != Some(0) {
        return Err(format!("{size} elements cannot be split into {parts} equal parts"));
    }
    // Since opset 18 the last part may be smaller.
    let chunk = (whole(size) + parts - 1usize).int()?.checked_div(parts).ok_or("it has no parts")?;
    let sizes = (0..parts).map(|i| Ok(chunk.min((whole(size) - whole(i) * chunk).int()?))).collect::<Rule<Vec<_>>>()?;
    if sizes.iter().any(|&s| s < 0) { Err(format!("{size} elements cannot be split into {parts} parts of {chunk}")) } else { Ok(sizes) }
}

impl Operator for Split {
    fn op_type(&self) -> &'static str {
        "Split"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(0);
        let a = axis(a, cx.ty(0)?.rank())?;
        cx.set("axis", Attr::Int(a as i64));
        cx.ints_to_input("split", 1)?;
        // All images that the exporter saw, in one part.
        if let (Some(Dim::Batch(k)), Some(declared), [_]) = (cx.ty(0)?.shape.get(a).copied(), cx.declared_batch, cx.outputs.as_slice()) {
            let sizes = cx.constant(1).and_then(|t| t.to_i64().ok());
            if sizes.is_none_or(|s| Ok(s) == (whole(k) * declared).int().map(|n| vec![n])) {
                cx.source.int("num_outputs").map_err(|e| e.to_string())?;
                cx.freed_batch = true;
                cx.op_type = "Identity".into();
                cx.inputs.truncate(1);
                cx.attrs.clear();
                return Ok(());
            }
        }
        if !cx.has(1) {
            let sizes = equal_parts(cx, a)?;
            let sizes = cx.add_constant("split", Tensor::from_i64(&[sizes.len()], &sizes));
            cx.inputs = vec![Some(cx.input(0)?), Some(sizes)];
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let a = axis(n.node.int("axis", 0), x.rank())?;
        let sizes = n.known_ints(1, "the list of sizes")?;
        let sizes = sizes.iter().map(|&s| usize::try_from(s)).collect::<Result<Vec<_>, _>>().map_err(|_| "a part has a negative size")?;
        let total = sizes.iter().try_fold(0usize, |a, &b| a.checked_add(b));
        if x.shape.get(a).copied() != total.map(Dim::Known) {
            return Err(format!("parts of {sizes:?} do not make up axis {a} of {x}"));
        }
        let part = |s: usize| {
            let mut ty = x.clone();
            set(&mut ty.shape, a, Dim::Known(s)).map(|()| ty)
        };
        sizes.into_iter().map(part).collect()
    }

    fn source_axis(&self, _: &View, i: usize, axis: usize) -> Option<usize> {
        (i == 0).then_some(axis)
    }

    fn facts(&self) -> Facts {
        Facts { moves: true, half: Half::Exact, ..Facts::NONE }
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        Reordered::along(n, order)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let a = axis(g.node.int("axis", 0), b.rank(g.input(0)?))?;
        // Zeros for unused outputs: as padding of the neighbour that is used.
        let mut parts: Vec<(ValueId, i64, i64)> = vec![];
        let mut begin = 0;
        for (dy, &output) in g.dy.iter().zip(&g.node.outputs) {
            let size = at(b.shape(output), a)?.known().ok_or("it splits the batch; rewrite with a fixed batch size")?;
            match (dy, parts.last_mut()) {
                (Some(dy), _) => parts.push((*dy, std::mem::take(&mut begin), 0)),
                (None, Some((_, _, end))) => *end = (whole(*end) + size).int()?,
                (None, None) => begin = (whole(begin) + size).int()?,
            }
        }
        let rank = b.rank(g.input(0)?);
        let along = |n: i64| (0..rank).map(|i| if i == a { n } else { 0 }).collect::<Vec<_>>();
        let mut padded = vec![];
        for (dy, begin, end) in parts {
            padded.push(b.pad(dy, &along(begin), &along(end), 0.0)?);
        }
        Ok(vec![Some(b.concat(&padded, a)?), None])
    }
}
