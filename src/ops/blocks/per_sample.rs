//! What rules for the gradients of single samples are made of, and what is done with such gradients.

use crate::ir::{Attr, Attrs, Dim, TensorType, ValueId};
use crate::operator::{Builder, PerSample, Rule, Samples, attrs, fixed};

/// Sums of squares of the samples' gradients.
#[derive(Debug, Clone, Copy)]
pub struct Squares {
    /// Over the samples: of the parameter's type.
    pub sum: ValueId,
    /// Over the parameter's elements: `[N]`.
    pub norms: ValueId,
}

fn known(dims: &[usize]) -> Vec<Dim> {
    dims.iter().map(|&d| Dim::Known(d)).collect()
}

impl Samples {
    /// `v`, whose leading axis is a multiple of the rows, repeated for each sample.
    pub fn repeated(&self, b: &mut Builder, v: ValueId) -> Rule<ValueId> {
        repeat(b, v, self.rows, self.copies)
    }

    /// The weight's gradient of `y = x·w` (`[in, out]`), or of `x·wᵀ` where `transposed`; leading axes are rows.
    pub fn product(&self, b: &mut Builder, x: ValueId, dy: ValueId, transposed: bool) -> Rule<PerSample> {
        let (dx, ddy) = (fixed(b.ty(x))?, fixed(b.ty(dy))?);
        let (Some(&inputs), Some(&outputs)) = (dx.last(), ddy.last()) else { return Err("its operands are scalars".into()) };
        let positions = dx[..dx.len() - 1].iter().product::<usize>() / self.rows.max(1);
        if positions == 1 {
            let x = b.reshape(x, &known(&[self.rows, inputs]))?;
            let dy = b.reshape(dy, &known(&[self.count(), outputs]))?;
            return Ok(if transposed { PerSample::Outer { left: dy, right: x } } else { PerSample::Outer { left: x, right: dy } });
        }
        // Several positions share the weight: Σ over them of dy ⊗ x, all cotangents of a row in one product.
        let x = b.reshape(x, &known(&[self.rows, positions, inputs]))?;
        let dy = b.reshape(dy, &known(&[self.count(), positions, outputs]))?;
        let dy = b.transpose(dy, &[0, 2, 1])?;
        let dy = b.reshape(dy, &known(&[self.rows, self.copies * outputs, positions]))?;
        let dw = b.matmul(dy, x)?;
        let value = b.reshape(dw, &known(&[self.count(), outputs, inputs]))?;
        Ok(PerSample::Dense { value, order: if transposed { vec![0, 1] } else { vec![1, 0] } })
    }

    /// `dy` summed over the axes along which a parameter of type `to` was broadcast, but never over samples.
    pub fn unbroadcast(&self, b: &mut Builder, dy: ValueId, to: &TensorType) -> Rule<PerSample> {
        let (dims, target) = (fixed(b.ty(dy))?, fixed(to)?);
        if target.len() > dims.len() || (target.len() == dims.len() && target[0] != 1) {
            return Err(format!("its parameter {to} has an element for each row of the batch"));
        }
        let positions = dims[0] / self.count().max(1);
        let split = b.reshape(dy, &known(&[&[self.count(), positions], &dims[1..]].concat()))?;
        // Axis i of dy is axis i + 1 of split.
        let lead = dims.len() - target.len();
        let at = |i: usize| if i >= lead { target[i - lead] } else { 1 };
        let axes: Vec<usize> = std::iter::once(1).chain((1..dims.len()).filter(|&i| at(i) == 1 && dims[i] != 1).map(|i| i + 1)).collect();
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
    let per_row = dims.iter().product::<usize>() / rows.max(1);
    let flat = b.reshape(v, &known(&[rows, 1, per_row]))?;
    let shape = b.ints(&[rows as i64, copies as i64, per_row as i64]);
    let wide = b.op("Expand", &[flat, shape], Attrs::new())?;
    if let Some(lead) = dims.first_mut() {
        *lead *= copies;
    }
    b.reshape(wide, &known(&dims))
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
        let shape: Vec<Dim> = std::iter::once(Dim::Known(rows * copies)).chain(ty.shape.iter().copied()).collect();
        match self {
            PerSample::Dense { value, order } => {
                let perm: Vec<usize> = std::iter::once(0).chain(order.iter().map(|a| a + 1)).collect();
                let value = b.transpose(*value, &perm)?;
                b.reshape(value, &shape)
            }
            PerSample::Outer { left, right } => {
                let mut factor = |v: ValueId, axes: [usize; 2]| {
                    let dims = fixed(b.ty(v))?;
                    let copies = dims[0] / rows.max(1);
                    b.reshape(v, &known(&[rows, copies, axes[0] * dims[1] + axes[1], axes[1] * dims[1] + axes[0]]))
                };
                let (left, right) = (factor(*left, [1, 0])?, factor(*right, [0, 1])?);
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
                let (mut factors, mut norms) = (vec![], vec![]);
                for v in [*left, *right] {
                    let dims = fixed(b.ty(v))?;
                    let own = dims[0] / rows.max(1);
                    let squares = square(b, v)?;
                    let norm = b.sum(squares, &[1], false)?;
                    norms.push(b.reshape(norm, &known(&[rows, own]))?);
                    let by_row = b.reshape(squares, &known(&[rows, own, dims[1]]))?;
                    factors.push((squares, by_row, own));
                }
                let [(left, left_rows, own), (right, right_rows, other)] = factors[..] else { return Err("two factors".into()) };
                let (left, right) = match own == other {
                    true => (left, right),
                    false => (b.sum(left_rows, &[1], false)?, b.sum(right_rows, &[1], false)?),
                };
                let product =
                    attrs([("alpha", Attr::Float(1.0)), ("beta", Attr::Float(1.0)), ("transA", Attr::Int(1)), ("transB", Attr::Int(0))]);
                let sum = b.op("Gemm", &[left, right], product)?;
                let norms = b.mul(norms[0], norms[1])?;
                Ok(Squares { sum: b.reshape(sum, &ty.shape)?, norms: b.reshape(norms, &[Dim::Known(rows * copies)])? })
            }
        }
    }
}
