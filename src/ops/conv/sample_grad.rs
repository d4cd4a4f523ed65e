//! The gradient of a convolution's kernel for every sample on its own.

use super::geometry::Geometry;
use crate::ir::{Attr, ValueId};
use crate::operator::checked::{known, times};
use crate::operator::{Builder, Function, PerSample, Rule};

/// `(x, dy) → dw of each sample`.
pub const SAMPLE_GRAD: Function = Function::new("ConvSampleGrad");

impl Geometry {
    /// The gradient of the kernel for each sample: `dYₙ·Xₙᵀ`, where `X` holds a row for every channel and kernel tap.
    ///
    /// `X` is made once per row of `large`; all cotangents of that row meet it in one product.
    pub(super) fn sample_grad(&self, b: &mut Builder, large: ValueId, small: ValueId, rows: usize, copies: usize) -> Rule<PerSample> {
        let mut attributes = self.attrs();
        attributes.insert("copies".into(), Attr::Int(copies as i64));
        let (taps, group) = (self.taps(), self.group);
        let ((per_group, features), pixels) = (self.of_group()?, self.pixels()?);
        let [value] = b.call(&SAMPLE_GRAD, [large, small], attributes, |b, [x, dy]| {
            let x = self.padded(b, x)?;
            let x = self.phases(b, x)?;
            let mut parts = vec![];
            for t in &taps {
                let slice = self.tap(b, &x, t)?;
                parts.push(b.reshape(slice, &known(&[rows, group, per_group, pixels]))?);
            }
            let stacked = b.concat(&parts, 2)?;
            let width = times(&[taps.len(), per_group])?;
            let dw = if group == 1 {
                let x = b.reshape(stacked, &known(&[rows, width, pixels]))?;
                let columns = b.transpose(x, &[0, 2, 1])?;
                let dy = b.reshape(dy, &known(&[rows, times(&[copies, features])?, pixels]))?;
                b.matmul(dy, columns)?
            } else {
                let x = b.reshape(stacked, &known(&[rows, 1, group, width, pixels]))?;
                let columns = b.transpose(x, &[0, 1, 2, 4, 3])?;
                let dy = b.reshape(dy, &known(&[rows, copies, group, features, pixels]))?;
                b.matmul(dy, columns)?
            };
            Ok([b.reshape(dw, &known(&[times(&[rows, copies])?, self.features, taps.len(), per_group]))?])
        })?;
        Ok(PerSample::Dense { value, order: vec![0, 2, 1] })
    }
}
