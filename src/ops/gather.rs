//! Entries picked by index along one axis.

use crate::ir::{Attr, Dim, Tensor, TensorType, ValueId};
use crate::operator::{Builder, Grad, Import, Known, Operator, Rule, View, axis, fold};

/// With constant indices differentiable: runs of neighbours are padded back into place and added.
pub struct Gather;

/// More runs of neighbouring indices than this would make too many nodes.
const RUNS: usize = 16;

/// Constant indices split where the next is not the one after: (first index, where in the list, length).
fn runs(indices: &[i64]) -> Vec<(i64, usize, usize)> {
    let mut runs: Vec<(i64, usize, usize)> = vec![];
    for (at, &i) in indices.iter().enumerate() {
        match runs.last_mut() {
            Some(last) if last.0 + last.2 as i64 == i => last.2 += 1,
            _ => runs.push((i, at, 1)),
        }
    }
    runs
}

impl Operator for Gather {
    fn op_type(&self) -> &'static str {
        "Gather"
    }

    /// Constant indices afterwards count from 0.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let a = cx.source.int("axis").map_err(|e| e.to_string())?.unwrap_or(0);
        let x = cx.ty(0)?;
        let a = axis(a, x.rank())?;
        let size = *x.shape.get(a).ok_or("it picks from a scalar")?;
        cx.set("axis", Attr::Int(a as i64));
        let Some(indices) = cx.constant(1).cloned() else { return Ok(()) };
        let list = indices.to_i64().map_err(|e| e.to_string())?;
        if let (Dim::Batch(_), Some(i)) = (size, list.iter().find(|&&i| i < 0)) {
            return Err(format!("it picks entry {i} of the batch, counted from its end; rewrite with a fixed batch size"));
        }
        if let Dim::Known(size) = size {
            let size = size as i64;
            if let Some(i) = list.iter().find(|&&i| i < -size) {
                return Err(format!("it picks entry {i} of {size}"));
            }
            if list.iter().any(|&i| i < 0) {
                let list: Vec<i64> = list.iter().map(|&i| if i < 0 { i + size } else { i }).collect();
                let indices = cx.add_constant("indices", Tensor::from_i64(indices.shape(), &list));
                cx.inputs[1] = Some(indices);
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
        if let (Some(size), Some(list)) = (x.shape[a].known(), n.ints(1))
            && let Some(i) = list.iter().find(|&&i| usize::try_from(i).map_or(true, |i| i >= size))
        {
            return Err(format!("it picks entry {i} of {size}"));
        }
        let shape = [&x.shape[..a], &indices.shape, &x.shape[a + 1..]].concat();
        Ok(vec![TensorType { dtype: x.dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, dy) = (b.ty(g.input(0)?).clone(), g.dy()?);
        let a = axis(g.node.int("axis", 0), x.rank())?;
        let view = View { graph: b.graph, node: &g.node };
        let indices = view.ints(1).ok_or("its indices are computed while the model runs; only constant ones are supported")?;
        let size = x.shape[a].known().ok_or("it picks from the batch; rewrite with a fixed batch size")? as i64;
        let runs = runs(&indices);
        if runs.len() > RUNS {
            return Err(format!("its indices form {} runs of neighbours; up to {RUNS} are supported", runs.len()));
        }
        // The indices as one axis.
        let mut flat = x.shape.clone();
        flat[a] = Dim::Known(indices.len());
        let dy = b.reshape(dy, &flat)?;
        let along = |n: i64| (0..flat.len()).map(|i| if i == a { n } else { 0 }).collect::<Vec<_>>();
        let mut parts = vec![];
        for (first, at, len) in runs {
            let part = if len == indices.len() { dy } else { b.slice(dy, &[a], &[at as i64], &[(at + len) as i64], &[1])? };
            parts.push(b.pad(part, &along(first), &along(size - first - len as i64), 0.0)?);
        }
        Ok(vec![if parts.is_empty() { None } else { Some(b.total(&parts)?) }, None])
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
        "gradient for constant indices in up to 16 runs of neighbours"
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn neighbours_form_runs() {
        assert_eq!(super::runs(&[3, 4, 5, 1, 1, 2]), [(3, 0, 3), (1, 3, 1), (1, 4, 2)]);
        assert!(super::runs(&[]).is_empty());
    }
}
