//! Sums, means and maxima over axes.

use super::blocks::formula;
use crate::ir::{Attr, Attrs, Dim, Tensor, TensorType, ValueId, product};
use crate::operator::attrs;
use crate::operator::{Builder, Facts, Function, Grad, Import, Operator, Rule, View, axes, floating};

/// `(x, y, dy) → dx`.
pub const MAX_GRAD: Function = Function::new("ReduceMaxGrad");

/// `(x, dy) → dx`.
pub const GLOBAL_MAX_POOL_GRAD: Function = Function::new("GlobalMaxPoolGrad");

/// The axes, all of them listed, sorted and counted from 0; in `ReduceSum` as input 1, elsewhere as attribute, as opset 17
/// has it.
fn import(cx: &mut Import) -> Rule<()> {
    cx.int("keepdims", 1)?;
    let given = cx.ints_from_input("axes", 1)?.unwrap_or_default();
    let keep_all = cx.source.int("noop_with_empty_axes").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
    if given.is_empty() && keep_all {
        if cx.op_type == "ReduceSumSquare" {
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
fn reduced(n: &View) -> Rule<Vec<usize>> {
    let list = if n.input(1).is_some() { n.known_ints(1, "the list of axes")? } else { n.node.ints("axes").to_vec() };
    axes(&list, n.ty(0)?.rank())
}

fn infer(n: &View) -> Rule<Vec<TensorType>> {
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
fn kept(b: &mut Builder, g: &Grad, v: ValueId) -> Rule<ValueId> {
    let x = g.input(0)?;
    let gone = reduced(&View { graph: b.graph, node: &g.node })?;
    let shape: Vec<Dim> = b.shape(x).iter().enumerate().map(|(i, d)| if gone.contains(&i) { Dim::Known(1) } else { *d }).collect();
    b.reshape(v, &shape)
}

/// The list of cotangents: the first input's, none for the axes.
fn only(g: &Grad, dx: ValueId) -> Vec<Option<ValueId>> {
    std::iter::once(Some(dx)).chain(g.node.inputs.iter().skip(1).map(|_| None)).collect()
}

/// `dx = dy` at every element.
pub struct ReduceSum;

impl Operator for ReduceSum {
    fn op_type(&self) -> &'static str {
        "ReduceSum"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = kept(b, g, g.dy()?)?;
        Ok(only(g, b.expand_like(dy, g.input(0)?)?))
    }
}

/// `dx = dy / n`, with `n` the number of elements in one mean.
pub struct ReduceMean;

impl Operator for ReduceMean {
    fn op_type(&self) -> &'static str {
        "ReduceMean"
    }

    fn facts(&self) -> Facts {
        Facts { keeps_classes: true, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        floating(n.ty(0)?)?;
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let x = g.input(0)?;
        let gone = reduced(&View { graph: b.graph, node: &g.node })?;
        let dims: Vec<Dim> = gone.iter().map(|&a| b.shape(x)[a]).collect();
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

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = kept(b, g, g.dy()?)?;
        let two = b.number(2.0, dy);
        let double = b.mul(dy, two)?;
        Ok(only(g, b.mul(g.input(0)?, double)?))
    }
}

/// `dx = dy / k` at each of the `k` largest elements, as in PyTorch's `amax`.
pub struct ReduceMax;

impl Operator for ReduceMax {
    fn op_type(&self) -> &'static str {
        "ReduceMax"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        import(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        infer(n)
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

    fn notes(&self) -> &'static str {
        "equal largest elements share the gradient, as in PyTorch's amax"
    }
}

/// The mean over all spatial axes; `dx = dy / n`.
pub struct GlobalAveragePool;

/// The spatial axes of `[N, C, …]`.
fn spatial(x: &TensorType) -> Rule<Vec<usize>> {
    floating(x)?;
    if x.rank() < 3 { Err(format!("it needs images [N, C, …], not {x}")) } else { Ok((2..x.rank()).collect()) }
}

fn pooled(n: &View) -> Rule<Vec<TensorType>> {
    let mut ty = n.ty(0)?.clone();
    for a in spatial(&ty)? {
        ty.shape[a] = Dim::Known(1);
    }
    Ok(vec![ty])
}

/// How many pixels an image has.
fn pixels(b: &Builder, x: ValueId) -> Rule<usize> {
    product(&b.shape(x)[2..]).and_then(|p| p.known()).ok_or_else(|| "the spatial sizes of its input are not known".into())
}

impl Operator for GlobalAveragePool {
    fn op_type(&self) -> &'static str {
        "GlobalAveragePool"
    }

    fn facts(&self) -> Facts {
        Facts { keeps_classes: true, ..Facts::NONE }
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        pooled(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, dy) = (g.input(0)?, g.dy()?);
        let scale = b.number(1.0 / pixels(b, x)? as f64, dy);
        let share = b.mul(dy, scale)?;
        Ok(vec![Some(b.expand_like(share, x)?)])
    }
}

/// The largest pixel of each map; the first of equal ones takes the gradient, as in PyTorch's `adaptive_max_pool`.
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    fn op_type(&self) -> &'static str {
        "GlobalMaxPool"
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        pooled(n)
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let pixels = pixels(b, g.input(0)?)?;
        let (shape, places): (_, Vec<i64>) = (b.shape(g.input(0)?).to_vec(), (0..pixels as i64).collect());
        let rule = formula(|[x, dy]| {
            let flat = x.reshape(&[shape[0], shape[1], pixels.into()]);
            let first = attrs([("axis", Attr::Int(2)), ("keepdims", Attr::Int(1)), ("select_last_index", Attr::Int(0))]);
            let best = flat.with(|b, flat| b.op("ArgMax", &[flat], first));
            let hit = best.equals(best.constant(Tensor::from_i64(&[1, 1, pixels], &places))).cast_like(dy);
            [(hit * dy.reshape(&[shape[0], shape[1], 1.into()])).reshape(&shape)]
        });
        let [dx] = b.call(&GLOBAL_MAX_POOL_GRAD, [g.input(0)?, g.dy()?], Attrs::new(), rule)?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "the first of equal largest pixels takes the gradient"
    }
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

    /// The sum of the squares of all elements, a scalar.
    pub fn sum_square(&mut self, a: ValueId) -> Rule<ValueId> {
        self.apply(&ReduceSumSquare, &[a], attrs([("keepdims", Attr::Int(0))]))
    }

    /// Means over `axes` (counted from 0).
    pub fn mean(&mut self, a: ValueId, axes: &[usize], keep: bool) -> Rule<ValueId> {
        let list = Attr::Ints(axes.iter().map(|&x| x as i64).collect());
        self.apply(&ReduceMean, &[a], attrs([("axes", list), ("keepdims", Attr::Int(keep as i64))]))
    }
}
