//! A regular part of a tensor.

use super::blocks::strided::spread_out;
use crate::ir::{Attrs, Dim, Elem, Tensor, TensorType, ValueId};
use crate::operator::checked::{OUT_OF_RANGE, Whole, at, set, whole};
use crate::operator::{Builder, Facts, Grad, Half, Import, Known, Operator, Reordered, Rule, View, axis, fold};

/// Every `step`-th element from `start` up to, not including, `end`, along some axes; with a negative step backwards.
/// The gradient is spread out with zeros: by padding every element of `dy` to `|step|`, and then at both ends.
pub struct Slice;

/// One axis of a slice: `count` elements from `start` on, `step` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    axis: usize,
    start: i64,
    step: i64,
    count: usize,
}

impl Part {
    /// ONNX's rules: bounds may count from the end, and are clamped.
    fn new(axis: usize, size: usize, start: i64, end: i64, step: i64) -> Rule<Part> {
        let size = i64::try_from(size).map_err(|_| "it slices an impossibly long axis".to_string())?;
        let from_zero = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
        let (start, end) = (from_zero(start), from_zero(end));
        let (start, end) = match step {
            0 => return Err("its step is 0".into()),
            1.. => (start.clamp(0, size), end.clamp(0, size)),
            // Backwards a start before the first element is the first element, in ONNX otherwise than in NumPy.
            _ => (start.clamp(0.min(size.saturating_sub(1)), size.saturating_sub(1)), end.clamp(-1, size.saturating_sub(1))),
        };
        let (first, last) = if step > 0 { (start, end) } else { (end, start) };
        let span = u64::try_from((whole(last) - first).int()?).unwrap_or(0);
        let count = span.div_ceil(step.unsigned_abs());
        // A step beyond the axis takes one element whatever its length.
        Ok(Part { axis, start: start.max(0), step: step.clamp(size.max(1).saturating_neg(), size.max(1)), count: count as usize })
    }

    /// The bounds as they are written: a backward slice down to the first element ends below −size.
    fn bounds(&self, size: usize) -> Rule<(i64, i64)> {
        let end = self.element(self.count).int()?;
        Ok((self.start, if self.step < 0 && end < 0 { (-whole(size) - 1usize).int()? } else { end.min(size as i64) }))
    }

    /// Where element `i` comes from.
    fn element(&self, i: usize) -> Whole {
        whole(self.step) * i + self.start
    }
}

/// The parts of a canonical node.
fn parts(n: &View) -> Rule<Vec<Part>> {
    let x = n.ty(0)?;
    let starts = n.known_ints(1, "where it starts")?;
    let ends = n.known_ints(2, "where it ends")?;
    let axes = if n.input(3).is_some() { n.known_ints(3, "the list of axes")? } else { (0..starts.len() as i64).collect() };
    let steps = if n.input(4).is_some() { n.known_ints(4, "the list of steps")? } else { vec![1; starts.len()] };
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("its lists of starts, ends, axes and steps differ in length".into());
    }
    let mut list: Vec<Part> = vec![];
    for (((&start, &end), &along), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let a = axis(along, x.rank())?;
        let size = x.shape.get(a).and_then(|d| d.known()).ok_or("it slices the batch; rewrite with a fixed batch size")?;
        if list.iter().any(|p| p.axis == a) {
            return Err(format!("it slices axis {a} twice"));
        }
        list.push(Part::new(a, size, start, end, step)?);
    }
    Ok(list)
}

/// The list at input `i` of the source.
fn bounds(cx: &Import, i: usize, what: &str) -> Rule<Vec<Elem>> {
    cx.elems(i).ok_or_else(|| format!("{what} (input {i}) is computed while the model runs; export the network with constant shapes"))
}

impl Operator for Slice {
    fn op_type(&self) -> &'static str {
        "Slice"
    }

    /// Afterwards all four lists are constants, axes count from 0, bounds are clamped, and axes that stay whole are gone.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        for (i, name) in (1..).zip(["starts", "ends", "axes"]) {
            cx.ints_to_input(name, i)?;
        }
        let x = cx.ty(0)?.clone();
        let (starts, ends) = (bounds(cx, 1, "where it starts")?, bounds(cx, 2, "where it ends")?);
        let numbers = |i: usize, what: &str| -> Rule<Vec<i64>> {
            let number = |e: Elem| if let Elem::Int(v) = e { Ok(v) } else { Err(format!("{what} depends on the batch size")) };
            bounds(cx, i, what)?.into_iter().map(number).collect()
        };
        let axes = if cx.has(3) { numbers(3, "the list of axes")? } else { (0..starts.len() as i64).collect() };
        let steps = if cx.has(4) { numbers(4, "the list of steps")? } else { vec![1; starts.len()] };
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err("its lists of starts, ends, axes and steps differ in length".into());
        }
        let mut lists = [vec![], vec![], vec![], vec![]];
        let mut seen = std::collections::HashSet::new();
        for (((start, end), along), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
            let a = axis(along, x.rank())?;
            let dim = *x.shape.get(a).ok_or("it slices a scalar")?;
            if !seen.insert(a) {
                return Err(format!("it slices axis {a} twice"));
            }
            let (Dim::Known(size), Elem::Int(start), Elem::Int(end)) = (dim, start, end) else {
                let from_start = matches!(start, Elem::Int(0)) && step == 1;
                let to_end = Elem::from(dim) == end || matches!(end, Elem::Int(v) if v >= i32::MAX as i64);
                if from_start && to_end {
                    continue;
                }
                // As many as the images that the exporter saw.
                let all = |declared| matches!((dim, end), (Dim::Batch(k), Elem::Int(end)) if k.checked_mul(declared).map(|n| n as i64) == Some(end));
                if from_start && cx.declared_batch.is_some_and(all) {
                    cx.freed_batch = true;
                    continue;
                }
                return Err(format!("it slices axis {a} of {x} by the batch size; rewrite with a fixed batch size"));
            };
            if step.unsigned_abs() > 1 << 31 {
                return Err(format!("its step {step}, {OUT_OF_RANGE}"));
            }
            if step < 0 && (end == i64::MAX || end == i32::MAX as i64) {
                return Err(format!(
                    "it goes backwards to {end}, by which ONNX means nothing and some runtimes the first element; export it with an end before the first element, \
                     such as {}",
                    i64::MIN
                ));
            }
            let part = Part::new(a, size, start, end, step)?;
            if part.step == 1 && part.count == size {
                continue;
            }
            let (start, end) = part.bounds(size)?;
            for (list, v) in lists.iter_mut().zip([start, end, a as i64, part.step]) {
                list.push(v);
            }
        }
        cx.inputs.truncate(1);
        if lists.iter().all(Vec::is_empty) {
            cx.op_type = "Identity".into();
            return Ok(());
        }
        for (name, list) in ["starts", "ends", "axes", "steps"].into_iter().zip(lists) {
            let list = cx.add_constant(name, Tensor::from_i64(&[list.len()], &list));
            cx.inputs.push(Some(list));
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let mut ty = n.ty(0)?.clone();
        for p in parts(n)? {
            set(&mut ty.shape, p.axis, Dim::Known(p.count))?;
        }
        Ok(vec![ty])
    }

    fn facts(&self) -> Facts {
        Facts { moves: true, half: Half::Exact, ..Facts::NONE }
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        let axes = n.ints(3)?.into_iter().map(|a| order.iter().position(|&o| i64::try_from(o) == Ok(a)).map(|at| at as i64));
        let axes: Vec<i64> = axes.collect::<Option<_>>()?;
        Some(Reordered { attrs: n.node.attrs.clone(), constants: vec![(3, Tensor::from_i64(&[axes.len()], &axes))] })
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let x = g.input(0)?;
        let list = parts(&View { graph: b.graph, node: &g.node })?;
        let rank = b.rank(x);
        let mut dx = g.dy()?;
        // Backward slices first turned forward.
        let backward: Vec<usize> = list.iter().filter(|p| p.step < 0).map(|p| p.axis).collect();
        if !backward.is_empty() {
            dx = b.turned(dx, &backward)?;
        }
        // The first element that was taken, and how far apart they are.
        let pace = |p: &Part| p.step.unsigned_abs() as usize;
        let first = |p: &Part| if p.step < 0 { p.element(p.count) - p.step } else { whole(p.start) };
        let spread: Vec<(usize, usize)> = list.iter().filter(|p| pace(p) > 1 && p.count > 1).map(|p| (p.axis, pace(p))).collect();
        dx = spread_out(b, dx, &spread)?;
        let (mut begin, mut end) = (vec![0i64; rank], vec![0i64; rank]);
        for p in &list {
            let size =
                |v: ValueId| at(b.shape(v), p.axis)?.known().ok_or("it slices the batch; rewrite with a fixed batch size".to_string());
            set(&mut begin, p.axis, first(p).int()?)?;
            set(&mut end, p.axis, (whole(size(x)?) - first(p) - size(dx)?).int()?)?;
        }
        Ok(vec![Some(b.pad(dx, &begin, &end, 0.0)?)])
    }

    fn source_axis(&self, n: &View, i: usize, axis: usize) -> Option<usize> {
        n.ty(i).is_ok_and(|t| t.dtype.is_float()).then_some(axis)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let list = parts(n).ok()?;
        let picks = |p: &Part| (0..p.count).map(|i| p.element(i).size().ok()).collect::<Option<Vec<_>>>();
        if let (Some(elems), [p]) = (fold::list(n, 0), list.as_slice()) {
            let ty = self.infer(n).ok()?.pop()?;
            return fold::known(&ty, picks(p)?.iter().map(|&i| elems.get(i).copied()).collect::<Option<_>>()?);
        }
        let mut t = fold::constant(n, 0)?.clone();
        for p in &list {
            t = fold::picked(&t, p.axis, &picks(p)?)?;
        }
        Some(Known::Tensor(t))
    }
}

impl Builder<'_> {
    /// Elements `starts..ends` by `steps` along `axes`.
    pub fn slice(&mut self, a: ValueId, axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Rule<ValueId> {
        let axes: Vec<i64> = axes.iter().map(|&x| x as i64).collect();
        let inputs = [a, self.ints(starts), self.ints(ends), self.ints(&axes), self.ints(steps)];
        self.apply(&Slice, &inputs, Attrs::new())
    }

    /// Takes away what is negative in `begin` and `end`, per axis. Not every runtime knows negative padding.
    pub fn crop(&mut self, a: ValueId, begin: &[i64], end: &[i64]) -> Rule<ValueId> {
        let (mut axes, mut starts, mut ends) = (vec![], vec![], vec![]);
        for (i, (&before, &behind)) in begin.iter().zip(end).enumerate().filter(|(_, (before, behind))| **before < 0 || **behind < 0) {
            let size = at(self.shape(a), i)?.known().ok_or("it crops the batch; rewrite with a fixed batch size")?;
            let (start, stop) = ((-whole(before.min(0))).int()?, (whole(size) + behind.min(0)).int()?);
            if start > stop {
                return Err(format!(
                    "axis {i} of {size} elements cannot be cut by {} and {}",
                    before.unsigned_abs(),
                    behind.unsigned_abs()
                ));
            }
            axes.push(i);
            starts.push(start);
            ends.push(stop);
        }
        if axes.is_empty() { Ok(a) } else { self.slice(a, &axes, &starts, &ends, &vec![1; axes.len()]) }
    }

    /// Turns axes over: their last elements come first.
    pub fn turned(&mut self, a: ValueId, axes: &[usize]) -> Rule<ValueId> {
        // Before the first element, by more than any axis is long.
        const END: i64 = i64::MIN + 1;
        let n = axes.len();
        self.slice(a, axes, &vec![-1; n], &vec![END; n], &vec![-1; n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(size: usize, start: i64, end: i64, step: i64) -> (Vec<i64>, (i64, i64)) {
        let p = Part::new(0, size, start, end, step).unwrap();
        ((0..p.count).map(|i| p.element(i).int().unwrap()).collect(), p.bounds(size).unwrap())
    }

    #[test]
    fn bounds_are_clamped_as_onnx_says() {
        assert_eq!(part(5, 1, 100, 2), (vec![1, 3], (1, 5)));
        assert_eq!(part(5, -3, i64::MAX, 1), (vec![2, 3, 4], (2, 5)));
        assert_eq!(part(5, -1, i64::MIN, -2), (vec![4, 2, 0], (4, -6)));
        assert_eq!(part(5, 100, 1, -1), (vec![4, 3, 2], (4, 1)));
        assert_eq!(part(5, 0, 5, 100), (vec![0], (0, 5)));
        assert!(part(5, 3, 1, 1).0.is_empty());
        assert!(part(5, -100, 0, -1).0.is_empty());
        // As ONNX's text has it; NumPy takes nothing.
        assert_eq!(part(5, i64::MIN, i64::MIN, -1), (vec![0], (0, -6)));
        assert!(part(0, -1, i64::MIN, -1).0.is_empty());
        assert!(Part::new(0, 5, 0, 5, 0).is_err());
    }
}
