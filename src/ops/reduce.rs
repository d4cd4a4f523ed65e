//! Sums, means and maxima over axes.

use super::add::sum;
use super::blocks::formula;
use super::extremum::larger;
use crate::ir::{Attr, Attrs, Dim, Elem, Tensor, TensorType, ValueId, product};
use crate::operator::attrs;
use crate::operator::checked::at;
use crate::operator::{Builder, Facts, Function, Grad, Import, Known, Meaning, Operator, Reordered, Rule, View, axes, floating, fold};

/// `(x, y, dy) → dx`.
pub const MAX_GRAD: Function = Function::new("ReduceMaxGrad");

/// The axes, all of them listed, sorted and counted from 0; in `ReduceSum` as input 1, elsewhere as attribute, as opset 17
/// has it.
pub(super) fn import(cx: &mut Import) -> Rule<()> {
    cx.int("keepdims", 1)?;
    let given = cx.ints_from_input("axes", 1)?.unwrap_or_default();
    let keep_all = cx.source.int("noop_with_empty_axes").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
    if given.is_empty() && keep_all {
        if !matches!(cx.op_type.as_str(), "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd") {
            return Err("over no axes at all its meaning is not clear".into());
        }
        cx.op_type = "Identity".into();
        cx.attrs.clear();
        return Ok(());
    }
    let list: Vec<i64> = axes(&given, cx.ty(0)?.rank())?.into_iter().map(|a| a as i64).collect();
    if cx.op_type == "ReduceSum" {
        let list = cx.add_constant("axes", Tensor::from_i64(&[list.len()], &list));
        cx.inputs.push(Some(list));
    } else {
        cx.set("axes", Attr::Ints(list));
    }
    Ok(())
}

/// The axes of a canonical node.
pub(super) fn reduced(n: &View) -> Rule<Vec<usize>> {
    let list = if n.input(1).is_some() { n.known_ints(1, "the list of axes")? } else { n.node.ints("axes").to_vec() };
    axes(&list, n.ty(0)?.rank())
}

/// Over axes that stay with length 1, where they lie in another order.
fn reordered(n: &View, order: &[usize]) -> Option<Reordered> {
    let gone = reduced(n).ok().filter(|_| n.ty(0).is_ok_and(|x| x.rank() == order.len()))?;
    // Axes that go leave the others in the order in which they lie.
    let left = order.iter().filter(|a| !gone.contains(a));
    if n.node.int("keepdims", 1) != 1 && !left.is_sorted() {
        return None;
    }
    let place = |a: &usize| order.iter().position(|o| o == a).map(|at| at as i64);
    let mut list: Vec<i64> = gone.iter().map(place).collect::<Option<_>>()?;
    list.sort_unstable();
    let mut attrs = n.node.attrs.clone();
    Some(match n.input(1).is_some() {
        true => Reordered { attrs, constants: vec![(1, Tensor::from_i64(&[list.len()], &list))] },
        false => {
            attrs.insert("axes".into(), Attr::Ints(list));
            Reordered { attrs, constants: vec![] }
        }
    })
}

pub(super) fn infer(n: &View) -> Rule<Vec<TensorType>> {
    let x = n.ty(0)?;
    let gone = reduced(n)?;
    let keep = n.node.int("keepdims", 1) == 1;
    let dim = |(i, d): (usize, &Dim)| match (gone.contains(&i), keep) {
        (false, _) => Some(*d),
        (true, true) => Some(Dim::Known(1)),
        (true, false) => None,
    };
    Ok(vec![TensorType { dtype: x.dtype, shape: x.shape.iter().enumerate().filter_map(dim).collect() }])
}

/// `v`, of the output's shape, with the reduced axes as axes of length 1.
pub(super) fn kept(b: &mut Builder, g: &Grad, v: ValueId) -> Rule<ValueId> {
    let x = g.input(0)?;
    let gone = reduced(&View { graph: b.graph, node: &g.node })?;
    let shape: Vec<Dim> = b.shape(x).iter().enumerate().map(|(i, d)| if gone.contains(&i) { Dim::Known(1) } else { *d }).collect();
    b.reshape(v, &shape)
}

/// What a list of a shape's elements comes to.
pub(super) fn on_list(n: &View, f: impl Fn(Elem, Elem) -> Option<Elem>) -> Option<Known> {
    if n.ty(0).ok()?.rank() != 1 || reduced(n).ok()? != [0] {
        return None;
    }
    let list = fold::list(n, 0)?;
    let (&first, rest) = list.split_first()?;
    let total = rest.iter().try_fold(first, |a, &b| f(a, b))?;
    fold::known(infer(n).ok()?.first()?, vec![total])
}

/// The list of cotangents: the first input's, none for the axes.
pub(super) fn only(g: &Grad, dx: ValueId) -> Vec<Option<ValueId>> {
    std::iter::once(Some(dx)).chain(g.node.inputs.iter().skip(1).map(|_| None)).collect()
}

/// `dx = dy` at every element.
pub struct ReduceSum;

impl Operator for ReduceSum {
    fn op_type(&self) -> &'static str {
        "ReduceSum"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Total, keeps_sign: true, ..Facts::NONE }
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        reduced(n).ok()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        reordered(n, order)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = kept(b, g, g.dy()?)?;
        Ok(only(g, b.expand_like(dy, g.input(0)?)?))
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_list(n, sum)
    }
}

/// `dx = dy / n`, with `n` the number of elements in one mean.
pub struct ReduceMean;

impl Operator for ReduceMean {
    fn op_type(&self) -> &'static str {
        "ReduceMean"
    }

    fn facts(&self) -> Facts {
        Facts { keeps_classes: true, keeps_sign: true, meaning: Meaning::Mean, ..Facts::NONE }
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        reduced(n).ok()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        floating(n.ty(0)?)?;
        infer(n)
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        reordered(n, order)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let x = g.input(0)?;
        let gone = reduced(&View { graph: b.graph, node: &g.node })?;
        let dims = gone.iter().map(|&a| at(b.shape(x), a)).collect::<Rule<Vec<Dim>>>()?;
        let dy = kept(b, g, g.dy()?)?;
        let share = match product(&dims) {
            Some(Dim::Known(n)) => {
                let scale = b.number(1.0 / n as f64, dy);
                b.mul(dy, scale)?
            }
            // The batch is among the axes: its size is known when the graph runs.
            _ => {
                let all = b.op("Size", &[x], Attrs::new())?;
                let means = b.op("Size", &[dy], Attrs::new())?;
                let count = b.div(all, means)?;
                let count = b.cast(count, b.dtype(dy))?;
                let count = b.reshape(count, &vec![Dim::Known(1); b.rank(dy)])?;
                b.div(dy, count)?
            }
        };
        Ok(only(g, b.expand_like(share, x)?))
    }
}

/// `dx = 2·x·dy`.
pub struct ReduceSumSquare;

impl Operator for ReduceSumSquare {
    fn op_type(&self) -> &'static str {
        "ReduceSumSquare"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::TotalOfSquares, ..Facts::NONE }
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        reduced(n).ok()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = kept(b, g, g.dy()?)?;
        let [dx] = b.formula([g.input(0)?, dy], |[x, dy]| [x * (dy * 2.0)])?;
        Ok(only(g, dx))
    }
}

/// `dx = dy / k` at each of the `k` largest elements, as in PyTorch's `amax`.
pub struct ReduceMax;

impl Operator for ReduceMax {
    fn op_type(&self) -> &'static str {
        "ReduceMax"
    }

    fn along(&self, n: &View) -> Option<Vec<usize>> {
        reduced(n).ok()
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn reordered(&self, n: &View, order: &[usize]) -> Option<Reordered> {
        reordered(n, order)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let x = g.input(0)?;
        let gone = reduced(&View { graph: b.graph, node: &g.node })?;
        let (y, dy) = (kept(b, g, g.output(0))?, kept(b, g, g.dy()?)?);
        let rule = formula(|[x, y, dy]| {
            let hit = x.equals(y).cast_like(x);
            [hit * (dy / hit.sum(&gone, true))]
        });
        let [dx] = b.call(&MAX_GRAD, [x, y, dy], Attrs::new(), rule)?;
        Ok(only(g, dx))
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        on_list(n, larger)
    }

    fn notes(&self) -> &'static str {
        "equal largest elements share the gradient, as in PyTorch's amax"
    }
}

/// The attributes of a reduction.
fn over(axes: &[usize], keep: bool) -> Attrs {
    attrs([("axes", Attr::Ints(axes.iter().map(|&x| x as i64).collect())), ("keepdims", Attr::Int(keep as i64))])
}

impl Builder<'_> {
    /// Sums over `axes` (counted from 0).
    pub fn sum(&mut self, a: ValueId, axes: &[usize], keep: bool) -> Rule<ValueId> {
        if axes.is_empty() {
            return Ok(a);
        }
        let list = self.ints(&axes.iter().map(|&x| x as i64).collect::<Vec<_>>());
        self.apply(&ReduceSum, &[a, list], attrs([("keepdims", Attr::Int(keep as i64))]))
    }

    /// The largest over `axes` (counted from 0), which stay with length 1.
    pub fn largest(&mut self, a: ValueId, axes: &[usize]) -> Rule<ValueId> {
        self.apply(&ReduceMax, &[a], over(axes, true))
    }

    /// The product over `axes` (counted from 0), which stay with length 1.
    pub fn product(&mut self, a: ValueId, axes: &[usize]) -> Rule<ValueId> {
        self.op("ReduceProd", &[a], over(axes, true))
    }

    /// Means over `axes` (counted from 0).
    pub fn mean(&mut self, a: ValueId, axes: &[usize], keep: bool) -> Rule<ValueId> {
        self.apply(&ReduceMean, &[a], over(axes, keep))
    }
}
