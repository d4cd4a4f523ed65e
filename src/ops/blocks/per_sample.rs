//! What rules for the gradients of single samples are made of, and what is done with such gradients.

use crate::ir::{Attr, Attrs, Dim, TensorType, ValueId};
use crate::operator::checked::{known, times};
use crate::operator::{Builder, PerSample, Rule, Samples, attrs, fixed};

/// Sums of squares of the samples' gradients.
#[derive(Debug, Clone, Copy)]
pub struct Squares {
    /// Over the samples: of the parameter's type.
    pub sum: ValueId,
    /// Over the parameter's elements: `[N]`.
    pub norms: ValueId,
}

/// How many entries of the leading axis belong to each of `rows`.
fn each(lead: usize, rows: usize) -> Rule<usize> {
    lead.checked_div(rows).ok_or_else(|| "it has no rows".into())
}

impl Samples {
    /// `v`, whose leading axis is a multiple of the rows, repeated for each sample.
    pub fn repeated(&self, b: &mut Builder, v: ValueId) -> Rule<ValueId> {
        repeat(b, v, self.rows, self.copies)
    }

    /// The weight's gradient of `y = x·w` (`[in, out]`), or of `x·wᵀ` where `transposed`; leading axes are rows.
    pub fn product(&self, b: &mut Builder, x: ValueId, dy: ValueId, transposed: bool) -> Rule<PerSample> {
        let (dx, ddy) = (fixed(b.ty(x))?, fixed(b.ty(dy))?);
        let (Some((&inputs, lead)), Some(&outputs)) = (dx.split_last(), ddy.last()) else { return Err("its operands are scalars".into()) };
        let positions = each(times(lead)?, self.rows)?;
        if positions == 1 {
            let x = b.reshape(x, &known(&[self.rows, inputs]))?;
            let dy = b.reshape(dy, &known(&[self.count(), outputs]))?;
            return Ok(if transposed { PerSample::Outer { left: dy, right: x } } else { PerSample::Outer { left: x, right: dy } });
        }
        // Several positions share the weight: Σ over them of dy ⊗ x, all cotangents of a row in one product.
        let x = b.reshape(x, &known(&[self.rows, positions, inputs]))?;
        let dy = b.reshape(dy, &known(&[self.count(), positions, outputs]))?;
        let dy = b.transpose(dy, &[0, 2, 1])?;
        let dy = b.reshape(dy, &known(&[self.rows, times(&[self.copies, outputs])?, positions]))?;
        let dw = b.matmul(dy, x)?;
        let value = b.reshape(dw, &known(&[self.count(), outputs, inputs]))?;
        Ok(PerSample::Dense { value, order: if transposed { vec![0, 1] } else { vec![1, 0] } })
    }

    /// `dy` summed over the axes along which a parameter of type `to` was broadcast, but never over samples.
    pub fn unbroadcast(&self, b: &mut Builder, dy: ValueId, to: &TensorType) -> Rule<PerSample> {
        let (dims, target) = (fixed(b.ty(dy))?, fixed(to)?);
        let rows = || format!("its parameter {to} has an element for each row of the batch");
        // The parameter's sizes, with ones in front where it has fewer axes; along the first one are the rows.
        let missing = dims.len().checked_sub(target.len()).ok_or_else(rows)?;
        let own = [vec![1; missing], target.clone()].concat();
        let (Some((lead, inner)), Some((1, own))) = (dims.split_first(), own.split_first()) else { return Err(rows()) };
        let positions = each(*lead, self.count())?;
        let split = b.reshape(dy, &known(&[&[self.count(), positions], inner].concat()))?;
        // The positions, and behind them the axes of dy but its first.
        let summed = (2..).zip(inner.iter().zip(own)).filter(|(_, (size, own))| **own == 1 && **size != 1).map(|(axis, _)| axis);
        let axes: Vec<usize> = std::iter::once(1).chain(summed).collect();
        let sum = b.sum(split, &axes, false)?;
        let value = b.reshape(sum, &known(&[&[self.count()], target.as_slice()].concat()))?;
        Ok(PerSample::dense(b, value))
    }
}

/// `[rows·k, …]` to `[rows·copies·k, …]`: each row, with its `k` entries of the leading axis, `copies` times in a row.
pub fn repeat(b: &mut Builder, v: ValueId, rows: usize, copies: usize) -> Rule<ValueId> {
    if copies == 1 {
        return Ok(v);
    }
    let mut dims = fixed(b.ty(v))?;
    let per_row = each(times(&dims)?, rows)?;
    let flat = b.reshape(v, &known(&[rows, 1, per_row]))?;
    let shape = b.ints(&[rows as i64, copies as i64, per_row as i64]);
    let wide = b.op("Expand", &[flat, shape], Attrs::new())?;
    if let Some(lead) = dims.first_mut() {
        *lead = times(&[*lead, copies])?;
    }
    b.reshape(wide, &known(&dims))
}

/// Of a factor `[rows·k, width]`: `k` and `width`.
fn sizes(b: &Builder, v: ValueId, rows: usize) -> Rule<(usize, usize)> {
    match *fixed(b.ty(v))? {
        [lead, width] => Ok((each(lead, rows)?, width)),
        _ => Err(format!("{} is no factor of single samples' gradients", b.ty(v))),
    }
}

fn square(b: &mut Builder, v: ValueId) -> Rule<ValueId> {
    b.mul(v, v)
}

impl PerSample {
    /// `[N, …]` with the parameter's own axes.
    pub fn dense(b: &Builder, value: ValueId) -> PerSample {
        PerSample::Dense { value, order: (0..b.rank(value).saturating_sub(1)).collect() }
    }

    /// The same as `[N, …]` with the axes of `ty`.
    fn expanded(&self, b: &mut Builder, ty: &TensorType, rows: usize, copies: usize) -> Rule<ValueId> {
        let shape: Vec<Dim> = std::iter::once(Dim::Known(times(&[rows, copies])?)).chain(ty.shape.iter().copied()).collect();
        match self {
            PerSample::Dense { value, order } => {
                let perm: Vec<usize> = std::iter::once(0).chain(order.iter().map(|a| a.saturating_add(1))).collect();
                let value = b.transpose(*value, &perm)?;
                b.reshape(value, &shape)
            }
            PerSample::Outer { left, right } => {
                let ((left_copies, height), (right_copies, width)) = (sizes(b, *left, rows)?, sizes(b, *right, rows)?);
                let left = b.reshape(*left, &known(&[rows, left_copies, height, 1]))?;
                let right = b.reshape(*right, &known(&[rows, right_copies, 1, width]))?;
                let product = b.mul(left, right)?;
                b.reshape(product, &shape)
            }
        }
    }

    /// The gradient of a parameter that several nodes read.
    pub fn total(b: &mut Builder, parts: &[PerSample], ty: &TensorType, rows: usize, copies: usize) -> Rule<PerSample> {
        if let [one] = parts {
            return Ok(one.clone());
        }
        let parts = parts.iter().map(|p| p.expanded(b, ty, rows, copies)).collect::<Rule<Vec<_>>>()?;
        let sum = b.total(&parts)?;
        Ok(PerSample::dense(b, sum))
    }

    /// Squares, then sums: over samples and over elements.
    pub fn squares(&self, b: &mut Builder, ty: &TensorType, rows: usize, copies: usize) -> Rule<Squares> {
        match self {
            PerSample::Dense { value, order } => {
                let squares = square(b, *value)?;
                let rest: Vec<usize> = (1..b.rank(squares)).collect();
                let norms = b.sum(squares, &rest, false)?;
                let sum = b.sum(squares, &[0], false)?;
                let sum = b.transpose(sum, order)?;
                Ok(Squares { sum: b.reshape(sum, &ty.shape)?, norms })
            }
            PerSample::Outer { left, right } => {
                // (aᵢ·bⱼ)² = aᵢ²·bⱼ²: no product is ever as large as N parameters.
                let mut factor = |v: ValueId| {
                    let (own, width) = sizes(b, v, rows)?;
                    let squares = square(b, v)?;
                    let norm = b.sum(squares, &[1], false)?;
                    let norm = b.reshape(norm, &known(&[rows, own]))?;
                    let by_row = b.reshape(squares, &known(&[rows, own, width]))?;
                    Ok::<_, String>((squares, by_row, own, norm))
                };
                let (left, left_rows, own, left_norms) = factor(*left)?;
                let (right, right_rows, other, right_norms) = factor(*right)?;
                let (left, right) = match own == other {
                    true => (left, right),
                    false => (b.sum(left_rows, &[1], false)?, b.sum(right_rows, &[1], false)?),
                };
                let product =
                    attrs([("alpha", Attr::Float(1.0)), ("beta", Attr::Float(1.0)), ("transA", Attr::Int(1)), ("transB", Attr::Int(0))]);
                let sum = b.op("Gemm", &[left, right], product)?;
                let norms = b.mul(left_norms, right_norms)?;
                Ok(Squares { sum: b.reshape(sum, &ty.shape)?, norms: b.reshape(norms, &[Dim::Known(times(&[rows, copies])?)])? })
            }
        }
    }
}
