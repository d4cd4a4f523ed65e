//! A convolution of small maps, whose batch is stacked into one tall image.

use super::geometry::Geometry;
use crate::ir::{Dim, ValueId, product};
use crate::operator::{Builder, Rule};

/// Up to so many output pixels an image has too few columns for the matrix product of a pointwise convolution.
const FEW_PIXELS: usize = 64;

impl Geometry {
    /// The convolution of `[1, C, N·rows, W]`, in which zero rows keep the images apart; `None` where it would not pay.
    ///
    /// ONNX Runtime's CPU kernel multiplies image by image. Where an image has fewer output pixels than there are output channels, it
    /// lays out that image's windows on one thread, and then multiplies by few columns. One tall image has enough of them.
    pub(super) fn stacked(&self, b: &mut Builder, x: ValueId, w: ValueId, bias: Option<ValueId>) -> Rule<Option<ValueId>> {
        let Some(rows) = self.stacked_rows() else { return Ok(None) };
        let (win, rank) = (&self.window, self.rank());
        let known = |list: &[usize]| list.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>();
        let mut swap: Vec<usize> = (0..2 + rank).collect();
        swap.swap(0, 1);
        let mut end = vec![0; 2 + rank];
        end[2] = (rows - self.input[0]) as i64;
        let x = b.pad(x, &vec![0; 2 + rank], &end, 0.0)?;
        let x = b.transpose(x, &swap)?;
        let height = product(&[self.batch, rows.into()]).ok_or("the batch size enters twice")?;
        let tall = [&[Dim::Known(1), self.channels.into(), height], known(&self.input[1..]).as_slice()].concat();
        let x = b.reshape(x, &tall)?;
        let mut tall = self.clone();
        // The stride divides the rows of an image, so there are as many windows to each; the last ones may reach over the end.
        tall.window.pads_end[0] = win.extent(0).saturating_sub(win.strides[0] + win.pads_begin[0]);
        let inputs: Vec<ValueId> = [x, w].into_iter().chain(bias).collect();
        let y = b.op("Conv", &inputs, tall.attrs())?;
        let windows = rows / win.strides[0];
        let apart = [&[self.features.into(), self.batch, windows.into()], known(&self.output[1..]).as_slice()].concat();
        let y = b.reshape(y, &apart)?;
        let mut end = vec![0; 2 + rank];
        end[2] = self.output[0] as i64 - windows as i64;
        let y = b.crop(y, &vec![0; 2 + rank], &end)?;
        Ok(Some(b.transpose(y, &swap)?))
    }

    /// How many rows of the tall image one image takes.
    fn stacked_rows(&self) -> Option<usize> {
        let win = &self.window;
        let pixels: usize = self.output.iter().product();
        let (extent, stride, before) = (win.extent(0), win.strides[0], win.pads_begin[0]);
        // A product of single pixels needs no windows; only its last columns, of which a vector is not full, are to be gained.
        let most = if self.pointwise() { FEW_PIXELS } else { self.features - 1 };
        if self.group > 1 || self.batch.known().is_none_or(|n| n < 2) || pixels > most || before >= extent {
            return None;
        }
        // What the first window reads before the image, and the last one behind it, is zero.
        let read = ((self.output[0] - 1) * stride + extent).checked_sub(before)?;
        let rows = read.max(self.input[0] + before).next_multiple_of(stride);
        // Zero rows cost as much as others.
        (2 * rows <= 3 * self.input[0]).then_some(rows)
    }
}
