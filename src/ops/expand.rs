//! Repetition.

use crate::ir::{Attr, Attrs, Dim, Elem, Tensor, TensorType, ValueId};
use crate::operator::checked::whole;
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, View, attrs, broadcast, fold};

/// Broadcasting to a shape; the gradient is summed over the repeated axes.
pub struct Expand;

/// The list of dimensions at input 1.
fn wanted(elems: Option<Vec<Elem>>) -> Rule<Vec<Dim>> {
    let elems = elems.ok_or("the shape (input 1) is computed while the model runs; export the network with constant shapes")?;
    let dim = |e| match e {
        Elem::Int(v) => usize::try_from(v).map(Dim::Known).map_err(|_| format!("the dimension {v} is negative")),
        Elem::Batch(k) => Ok(Dim::Batch(k)),
    };
    elems.into_iter().map(dim).collect()
}

/// The number of images that the exporter saw, where it stands in the place of the batch, is the batch.
fn free_batch(x: &[Dim], wanted: &mut [Dim], declared: Option<usize>) -> bool {
    let mut freed = false;
    for (have, want) in x.iter().rev().zip(wanted.iter_mut().rev()) {
        let (Dim::Batch(k), Dim::Known(n), Some(declared)) = (*have, *want, declared) else { continue };
        // A 1 keeps what is there, whatever it means.
        if n != 1 && k.checked_mul(declared) == Some(n) {
            *want = *have;
            freed = true;
        }
    }
    freed
}

/// Numbers that may be sizes, and with them the batch; a longer list is one of indices.
const SIZES: usize = 64;

impl Operator for Expand {
    fn op_type(&self) -> &'static str {
        "Expand"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    /// Writes the shape as a constant, unless the result gets its batch dimension from it.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let mut wanted = wanted(cx.elems(1))?;
        let x = cx.ty(0)?.clone();
        cx.freed_batch |= free_batch(&x.shape, &mut wanted, cx.declared_batch);
        let shape = broadcast(&x.shape, &wanted)?;
        if let Some(dims) = constant_shape(&x.shape, &shape) {
            let dims = cx.add_constant("shape", Tensor::from_i64(&[dims.len()], &dims));
            cx.inputs = vec![Some(cx.input(0)?), Some(dims)];
        }
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        Ok(vec![TensorType { dtype: x.dtype, shape: broadcast(&x.shape, &wanted(fold::list(n, 1))?)? }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let to = b.ty(g.input(0)?).clone();
        Ok(vec![Some(b.unbroadcast(g.dy()?, &to)?), None])
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        let to = self.infer(n).ok()?.pop()?;
        let count = to.count()?.known().filter(|&c| to.rank() <= 1 && c <= SIZES);
        if let Some((elems, count)) = fold::list(n, 0).zip(count) {
            return fold::known(&to, elems.into_iter().cycle().take(count).collect());
        }
        let t = fold::constant(n, 0)?;
        let shape = to.dims()?;
        let lead = shape.len().checked_sub(t.shape().len())?;
        // How far each axis goes in the operand: nowhere along those that are repeated.
        let paces: Vec<usize> = t.shape().iter().zip(fold::strides(t.shape())).map(|(&d, s)| if d == 1 { 0 } else { s }).collect();
        let source =
            |at: &[usize]| at.iter().skip(lead).zip(&paces).map(|(&i, &pace)| i.saturating_mul(pace)).fold(0, usize::saturating_add);
        fold::gathered(t, &shape, source).map(Known::Tensor)
    }

    fn shape_operand(&self, n: &View) -> Rule<Option<Tensor>> {
        let [ty] = &*self.infer(n)? else { return Ok(None) };
        let dims = constant_shape(&n.ty(0)?.shape, &ty.shape);
        Ok(dims.map(|dims| Tensor::from_i64(&[dims.len()], &dims)))
    }
}

/// The second operand of an `Expand` from one shape to another: `None` where a batch dimension comes from nowhere else.
fn constant_shape(from: &[Dim], to: &[Dim]) -> Option<Vec<i64>> {
    let lead = to.len().checked_sub(from.len())?;
    let own = std::iter::repeat_n(None, lead).chain(from.iter().map(Some));
    let one = |(d, own): (&Dim, Option<&Dim>)| match d {
        Dim::Known(n) => Some(*n as i64),
        // The operand has it: 1 keeps it.
        Dim::Batch(_) => (own == Some(d)).then_some(1),
    };
    to.iter().zip(own).map(one).collect()
}

impl Builder<'_> {
    /// Repeats `v`, of as many axes as `like`, along those where it has length 1 and `like` has not.
    pub fn expand_like(&mut self, v: ValueId, like: ValueId) -> Rule<ValueId> {
        let (from, to) = (self.shape(v).to_vec(), self.shape(like).to_vec());
        if from == to {
            return Ok(v);
        }
        let shape = match constant_shape(&from, &to) {
            Some(dims) => self.ints(&dims),
            None => {
                let shape = self.op("Shape", &[like], super::shape::whole(to.len()))?;
                self.graph.value_mut(shape).elems = Some(to.iter().map(|&d| d.into()).collect());
                shape
            }
        };
        self.op("Expand", &[v, shape], Attrs::new())
    }

    /// `v`, whose length along `axis` is 1, once for each image that `like` has along that axis.
    pub(super) fn for_each_image(&mut self, v: ValueId, like: ValueId, axis: usize) -> Rule<ValueId> {
        let part = attrs([("start", Attr::Int(axis as i64)), ("end", Attr::Int((whole(axis) + 1usize).int()?))]);
        let images = self.folded("Shape", &[like], part)?;
        let (before, after) = (vec![1; axis], vec![1; self.rank(v).saturating_sub(axis).saturating_sub(1)]);
        let mut parts = vec![images];
        if !before.is_empty() {
            parts.insert(0, self.ints(&before));
        }
        if !after.is_empty() {
            parts.push(self.ints(&after));
        }
        let shape = if parts.len() == 1 { images } else { self.folded("Concat", &parts, attrs([("axis", Attr::Int(0))]))? };
        self.op("Expand", &[v, shape], Attrs::new())
    }
}

/// Whole copies side by side; the gradient is summed over the copies.
pub struct Tile;

/// How often each axis is repeated.
fn repeats(n: &View) -> Rule<Vec<usize>> {
    let list = n.known_ints(1, "how often it repeats")?;
    let list =
        list.iter().map(|&r| usize::try_from(r)).collect::<Result<Vec<_>, _>>().map_err(|_| "it repeats a negative number of times")?;
    if list.len() != n.ty(0)?.rank() { Err(format!("{} repeats do not fit {}", list.len(), n.ty(0)?)) } else { Ok(list) }
}

impl Operator for Tile {
    fn op_type(&self) -> &'static str {
        "Tile"
    }

    fn facts(&self) -> Facts {
        Facts::PICKS
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let mut ty = n.ty(0)?.clone();
        for (d, r) in ty.shape.iter_mut().zip(repeats(n)?) {
            *d = crate::ir::product(&[*d, Dim::Known(r)]).ok_or("its result is impossibly large")?;
        }
        Ok(vec![ty])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let repeats = repeats(&View { graph: b.graph, node: &g.node })?;
        let shape = b.shape(g.input(0)?).to_vec();
        let (mut apart, mut copies) = (vec![], vec![]);
        for (&d, &r) in shape.iter().zip(&repeats) {
            if r != 1 {
                copies.push(apart.len());
                apart.push(Dim::Known(r));
            }
            apart.push(d);
        }
        let dx = b.reshape(g.dy()?, &apart)?;
        Ok(vec![Some(b.sum(dx, &copies, false)?), None])
    }
}
