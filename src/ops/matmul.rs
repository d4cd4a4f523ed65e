//! MatMul: numpy's matrix product, batched and broadcasting.

use crate::ir::{Attrs, Dim, TensorType, ValueId, product};
use crate::operator::checked::at;
use crate::operator::{
    Builder, Facts, Grad, Half, Import, Meaning, Operator, OutputChannels, ParameterKind, PerSample, Rule, Samples, View, broadcast,
    floating,
};

/// `dA = dY·Bᵀ`, `dB = Aᵀ·dY`, summed over broadcast batch axes.
pub struct MatMul;

/// The last two axes swapped.
fn swapped(b: &mut Builder, v: ValueId) -> Rule<ValueId> {
    let mut perm: Vec<usize> = (0..b.rank(v)).collect();
    let last = perm.iter_mut().rev().take(2).collect::<Vec<_>>();
    let Ok([last, before]) = <[&mut usize; 2]>::try_from(last) else { return Err("it multiplies a vector".into()) };
    std::mem::swap(last, before);
    b.transpose(v, &perm)
}

impl Operator for MatMul {
    fn op_type(&self) -> &'static str {
        "MatMul"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::MatrixProduct, half: Half::Product, ..Facts::NONE }
    }

    /// Vectors become matrices of one row or column, and the result is without that axis.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let (x, w) = (cx.input(0)?, cx.input(1)?);
        let (rx, rw) = (cx.ty(0)?.rank(), cx.ty(1)?.rank());
        if (rx != 1 && rw != 1) || rx == 0 || rw == 0 {
            return Ok(());
        }
        let mut b = cx.builder();
        let one = Dim::Known(1);
        let row = if rx == 1 { b.reshape(x, &[one, at(b.shape(x), 0)?])? } else { x };
        let column = if rw == 1 { b.reshape(w, &[at(b.shape(w), 0)?, one])? } else { w };
        let product = b.matmul(row, column)?;
        let mut shape = b.shape(product).to_vec();
        let columns = shape.pop();
        if rx == 1 {
            shape.pop();
        }
        shape.extend(columns.filter(|_| rw != 1));
        cx.replaced = Some(vec![b.reshape(product, &shape)?]);
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (a, b) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(a)?;
        let ([batch_a @ .., rows, inner], [batch_b @ .., depth, columns]) = (&*a.shape, &*b.shape) else {
            return Err("it multiplies a scalar or a vector".into());
        };
        if inner != depth {
            return Err(format!("the inner dimensions of {a} and {b} differ"));
        }
        let mut shape = broadcast(batch_a, batch_b)?;
        shape.extend([*rows, *columns]);
        Ok(vec![TensorType { dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let (tx, tw) = (b.ty(x).clone(), b.ty(w).clone());
        let dx = if g.needs(0) {
            let wt = swapped(b, w)?;
            let product = b.matmul(dy, wt)?;
            Some(b.unbroadcast(product, &tx)?)
        } else {
            None
        };
        let dw = if g.needs(1) {
            // A matrix shared by the whole batch: one product over all rows, not one per batch entry.
            let rows = tx.shape.split_last().and_then(|(_, rows)| product(rows));
            if let (Some(rows), [depth, columns]) = (rows, &*tw.shape) {
                let flat_x = b.reshape(x, &[rows, *depth])?;
                let flat_dy = b.reshape(dy, &[rows, *columns])?;
                let xt = swapped(b, flat_x)?;
                Some(b.matmul(xt, flat_dy)?)
            } else {
                let xt = swapped(b, x)?;
                let product = b.matmul(xt, dy)?;
                Some(b.unbroadcast(product, &tw)?)
            }
        } else {
            None
        };
        Ok(vec![dx, dw])
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        if s.grad.needs(0) {
            return Err("its parameter stands on the left, where samples are no rows; export it as data · weight".into());
        }
        if b.rank(s.grad.input(1)?) != 2 {
            return Err("its weight is no matrix, and there is no rule for the gradients of single samples of others".into());
        }
        Ok(vec![None, Some(s.product(b, s.grad.input(0)?, s.grad.dy()?, false)?)])
    }

    fn parameters(&self, n: &View) -> Vec<Option<ParameterKind>> {
        // Rows of the left operand and columns of the right one are what the result consists of.
        let kernel = |i: usize| {
            let rank = n.ty(i).map_or(0, |t| t.rank());
            let axis = rank.checked_add(i)?.checked_sub(2)?;
            (rank >= 2 && n.is_fixed(i)).then_some(ParameterKind::Kernel { axis })
        };
        vec![kernel(0), kernel(1)]
    }

    fn output_channels(&self, n: &View) -> Option<OutputChannels> {
        let rank = n.ty(0).ok()?.rank().max(n.ty(1).ok()?.rank());
        Some(OutputChannels { axis: rank.checked_sub(1)?, blocks: 1 })
    }
}

impl Builder<'_> {
    /// The matrix product `a·b`.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Rule<ValueId> {
        self.apply(&MatMul, &[a, b], Attrs::new())
    }
}
