//! A convolution of small maps, whose batch is stacked into one tall image.

use super::geometry::Geometry;
use crate::ir::{Dim, ValueId, product};
use crate::operator::checked::{known, whole};
use crate::operator::{Builder, Rule};

/// Up to so many output pixels an image has too few columns for the matrix product of a pointwise convolution.
const FEW_PIXELS: usize = 64;

impl Geometry {
    /// The convolution of `[1, C, N·rows, W]`, in which zero rows keep the images apart; `None` where it would not pay.
    ///
    /// ONNX Runtime's CPU kernel multiplies image by image. Where an image has fewer output pixels than there are output channels, it
    /// lays out that image's windows on one thread, and then multiplies by few columns. One tall image has enough of them.
    pub(super) fn stacked(&self, b: &mut Builder, x: ValueId, w: ValueId, bias: Option<ValueId>) -> Rule<Option<ValueId>> {
        let Some(Stacking { rows, height, windows, top, end }) = self.stacking() else { return Ok(None) };
        let ends = |first: i64| [vec![0, 0, first], vec![0; self.rank().saturating_sub(1)]].concat();
        let x = b.pad(x, &ends(0), &ends((whole(rows) - height).int()?), 0.0)?;
        let x = b.transpose(x, &self.channels_first())?;
        let total = product(&[self.batch, rows.into()]).ok_or("the batch size enters twice")?;
        let others = |sizes: &[usize]| known(sizes.get(1..).unwrap_or_default());
        let x = b.reshape(x, &[vec![Dim::Known(1), self.channels.into(), total], others(&self.input)].concat())?;
        let mut tall = self.clone();
        // The stride divides the rows of an image, so there are as many windows to each; the last ones may reach over the end.
        tall.window.pads_end.iter_mut().take(1).for_each(|pad| *pad = end);
        let inputs: Vec<ValueId> = [x, w].into_iter().chain(bias).collect();
        let y = b.op("Conv", &inputs, tall.attrs())?;
        let y = b.reshape(y, &[vec![self.features.into(), self.batch, windows.into()], others(&self.output)].concat())?;
        let y = b.crop(y, &ends(0), &ends((whole(top) - windows).int()?))?;
        Ok(Some(b.transpose(y, &self.channels_first())?))
    }

    /// How the batch is stacked, where that pays.
    fn stacking(&self) -> Option<Stacking> {
        let (axis, height, top) = self.sides().next()?;
        let (extent, stride, before) = (axis.extent(), axis.stride, axis.begin);
        // A product of single pixels needs no windows; only its last columns, of which a vector is not full, are to be gained.
        let most = if self.pointwise() { FEW_PIXELS } else { self.features.checked_sub(1)? };
        if self.group > 1 || self.batch.known().is_none_or(|n| n < 2) || self.pixels().ok()? > most || before >= extent {
            return None;
        }
        // What the first window reads before the image, and the last one behind it, is zero.
        let read = ((whole(top) - 1usize) * stride + extent - before).size().ok()?;
        let rows = read.max((whole(height) + before).size().ok()?).checked_next_multiple_of(stride)?;
        // Zero rows cost as much as others.
        let pays = (whole(rows) * 2usize).size().ok()? <= (whole(height) * 3usize).size().ok()?;
        let end = extent.saturating_sub((whole(stride) + before).size().ok()?);
        pays.then_some(Stacking { rows, height, windows: rows.checked_div(stride)?, top, end })
    }
}

/// A batch in one tall image.
struct Stacking {
    /// Rows of the tall image that one image takes.
    rows: usize,
    /// Rows of an image.
    height: usize,
    /// Rows of the tall result that belong to one image.
    windows: usize,
    /// Rows of a result.
    top: usize,
    /// Padding at the end.
    end: usize,
}
