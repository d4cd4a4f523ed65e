//! The gradient of a convolution's input.

use super::LARGE_MAP;
use super::geometry::Geometry;
use crate::ir::{Attr, ValueId};
use crate::operator::{Builder, Function, Rule};

/// `(dy, w) → dx`.
pub const INPUT_GRAD: Function = Function::new("ConvInputGrad");

impl Geometry {
    /// The gradient of the input: `dY` convolved with the kernel turned over, or a transposed convolution.
    pub(super) fn input_grad(&self, b: &mut Builder, dy: ValueId, w: ValueId) -> Rule<ValueId> {
        let mut attributes = self.attrs();
        // A strided convolution's output does not tell the input's size.
        attributes.insert("input_shape".into(), Attr::Ints(self.input.iter().map(|&s| s as i64).collect()));
        let [dx] = b.call(&INPUT_GRAD, [dy, w], attributes, |b, [dy, w]| {
            let reach: Vec<usize> = (0..self.rank()).map(|i| self.window.extent(i) - 1).collect();
            let fits = reach.iter().zip(&self.window.pads_begin).all(|(r, p)| r >= p)
                && reach.iter().zip(&self.window.pads_end).all(|(r, p)| r >= p);
            let large = self.output.iter().all(|&s| s >= LARGE_MAP);
            // A strided convolution may leave a rim of the input unread; only the transposed form can restore it.
            if self.group == 1 && self.unit_stride() && fits && (self.pointwise() || large) {
                Ok([self.turned_over(b, dy, w, &reach)?])
            } else {
                Ok([self.transposed(b, dy, w)?])
            }
        })?;
        Ok(dx)
    }

    fn turned_over(&self, b: &mut Builder, dy: ValueId, w: ValueId, reach: &[usize]) -> Rule<ValueId> {
        let mut perm: Vec<usize> = (0..2 + self.rank()).collect();
        perm.swap(0, 1);
        let mut turned = b.transpose(w, &perm)?;
        let long: Vec<usize> = self.spatial_axes().into_iter().filter(|&a| self.window.kernel[a - 2] > 1).collect();
        if !long.is_empty() {
            let (starts, ends, steps) = (vec![-1; long.len()], vec![i64::MIN + 1; long.len()], vec![-1; long.len()]);
            turned = b.slice(turned, &long, &starts, &ends, &steps)?;
        }
        let pads = |p: &[usize]| reach.iter().zip(p).map(|(r, p)| (r - p) as i64).collect::<Vec<_>>();
        let pads = [pads(&self.window.pads_begin), pads(&self.window.pads_end)].concat();
        let mut attributes = self.attrs();
        attributes.insert("pads".into(), Attr::Ints(pads));
        b.op("Conv", &[dy, turned], attributes)
    }

    fn transposed(&self, b: &mut Builder, dy: ValueId, w: ValueId) -> Rule<ValueId> {
        let padding: Vec<i64> = (0..self.rank())
            .map(|i| {
                let win = &self.window;
                let covered = win.strides[i] * (self.output[i] - 1) + win.extent(i);
                (self.input[i] + win.pads_begin[i] + win.pads_end[i]) as i64 - covered as i64
            })
            .collect();
        let mut attributes = self.attrs();
        attributes.insert("output_padding".into(), Attr::Ints(padding));
        b.op("ConvTranspose", &[dy, w], attributes)
    }
}
