//! Axes in another order.

use crate::ir::{Attr, Node, TensorType, ValueId};
use crate::operator::checked::{at, set};
use crate::operator::{Builder, Facts, Grad, Import, Known, Operator, Rule, View, attrs, fold};

/// Output axis `i` is input axis `perm[i]`; the gradient is transposed back.
pub struct Transpose;

/// The permutation of a canonical node.
fn permutation(node: &Node, rank: usize) -> Rule<Vec<usize>> {
    let perm = node.ints("perm");
    let mut seen = vec![false; rank];
    for &p in perm {
        match usize::try_from(p).ok().and_then(|p| seen.get_mut(p)) {
            Some(s) if !*s => *s = true,
            _ => return Err(format!("`perm` {perm:?} is no order of {rank} axes")),
        }
    }
    if perm.len() != rank {
        return Err(format!("`perm` {perm:?} is no order of {rank} axes"));
    }
    Ok(perm.iter().map(|&p| p as usize).collect())
}

impl Operator for Transpose {
    fn op_type(&self) -> &'static str {
        "Transpose"
    }

    fn facts(&self) -> Facts {
        Facts { reorders: true, ..Facts::PICKS }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        let rank = cx.ty(0)?.rank() as i64;
        let perm = cx.ints("perm")?.unwrap_or_else(|| (0..rank).rev().collect());
        cx.set("perm", Attr::Ints(perm));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let x = n.ty(0)?;
        let perm = permutation(n.node, x.rank())?;
        Ok(vec![TensorType { dtype: x.dtype, shape: perm.iter().map(|&p| at(&x.shape, p)).collect::<Rule<_>>()? }])
    }

    fn order(&self, n: &View) -> Option<Vec<usize>> {
        permutation(n.node, n.ty(0).ok()?.rank()).ok()
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let dy = g.dy()?;
        let perm = permutation(&g.node, b.rank(dy))?;
        let mut inverse = vec![0; perm.len()];
        for (i, &p) in perm.iter().enumerate() {
            set(&mut inverse, p, i)?;
        }
        Ok(vec![Some(b.transpose(dy, &inverse)?)])
    }

    fn source_axis(&self, n: &View, i: usize, axis: usize) -> Option<usize> {
        let perm = permutation(n.node, n.ty(0).ok()?.rank()).ok()?;
        perm.get(axis).copied().filter(|_| i == 0)
    }

    fn evaluate(&self, n: &View) -> Option<Known> {
        if let Some(elems) = fold::list(n, 0) {
            return fold::known(n.ty(0).ok()?, elems);
        }
        let t = fold::constant(n, 0)?;
        let perm = permutation(n.node, t.shape().len()).ok()?;
        let shape: Vec<usize> = perm.iter().map(|&p| t.shape().get(p).copied()).collect::<Option<_>>()?;
        let strides = fold::strides(t.shape());
        let paces: Vec<usize> = perm.iter().map(|&p| strides.get(p).copied()).collect::<Option<_>>()?;
        let source = |at: &[usize]| at.iter().zip(&paces).map(|(&i, &pace)| i.saturating_mul(pace)).fold(0, usize::saturating_add);
        fold::gathered(t, &shape, source).map(Known::Tensor)
    }
}

impl Builder<'_> {
    /// `a` with its axes in the order of `perm`; `a` itself where that changes nothing.
    pub fn transpose(&mut self, a: ValueId, perm: &[usize]) -> Rule<ValueId> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return Ok(a);
        }
        self.apply(&Transpose, &[a], attrs([("perm", Attr::Ints(perm.iter().map(|&p| p as i64).collect()))]))
    }
}
