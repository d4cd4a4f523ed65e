//! The gradient of a convolution's input.

use super::LARGE_MAP;
use super::geometry::Geometry;
use crate::ir::{Attr, ValueId};
use crate::operator::checked::{signed, whole};
use crate::operator::{Builder, Function, Rule};

/// `(dy, w) → dx`.
pub const INPUT_GRAD: Function = Function::new("ConvInputGrad");

impl Geometry {
    /// The gradient of the input: `dY` convolved with the kernel turned over, or a transposed convolution.
    pub(super) fn input_grad(&self, b: &mut Builder, dy: ValueId, w: ValueId) -> Rule<ValueId> {
        let mut attributes = self.attrs();
        // A strided convolution's output does not tell the input's size.
        attributes.insert("input_shape".into(), Attr::Ints(signed(&self.input)));
        let [dx] = b.call(&INPUT_GRAD, [dy, w], attributes, |b, [dy, w]| {
            let reach: Vec<usize> = self.window.axes().map(|axis| axis.extent().saturating_sub(1)).collect();
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
        let mut turned = b.transpose(w, &self.channels_first())?;
        let long: Vec<usize> = self.spatial_axes().into_iter().zip(&self.window.kernel).filter(|(_, k)| **k > 1).map(|(a, _)| a).collect();
        if !long.is_empty() {
            turned = b.turned(turned, &long)?;
        }
        let pads = |p: &[usize]| reach.iter().zip(p).map(|(&r, &p)| (whole(r) - p).int()).collect::<Rule<Vec<_>>>();
        let pads = [pads(&self.window.pads_begin)?, pads(&self.window.pads_end)?].concat();
        let mut attributes = self.attrs();
        attributes.insert("pads".into(), Attr::Ints(pads));
        b.op("Conv", &[dy, turned], attributes)
    }

    fn transposed(&self, b: &mut Builder, dy: ValueId, w: ValueId) -> Rule<ValueId> {
        let padding = self.sides().map(|(axis, input, output)| {
            let covered = (whole(output) - 1usize) * axis.stride + axis.extent();
            (whole(input) + axis.begin + axis.end - covered).int()
        });
        let padding = padding.collect::<Rule<Vec<_>>>()?;
        let mut attributes = self.attrs();
        attributes.insert("output_padding".into(), Attr::Ints(padding));
        b.op("ConvTranspose", &[dy, w], attributes)
    }
}
