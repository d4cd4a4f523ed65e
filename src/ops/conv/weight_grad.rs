//! The gradient of a convolution's kernel.

use super::LARGE_MAP;
use super::geometry::Geometry;
use crate::ir::{Dim, ValueId, product};
use crate::operator::checked::{known, signed, times, whole};
use crate::operator::window::Window;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::strided::take_apart;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// `(x, dy) → dw`.
pub const WEIGHT_GRAD: Function = Function::new("ConvWeightGrad");

/// With at most this many rows the taps' slices are stacked, so that one product does for all.
const STACKED_ROWS: usize = 64;

/// The padded input of a strided convolution by phase, see [`Geometry::phases`].
type Phased = BTreeMap<Vec<usize>, ValueId>;

/// The images' products, summed.
fn over_batch(b: &mut Builder, rows: ValueId, columns: ValueId) -> Rule<ValueId> {
    let products = b.matmul(rows, columns)?;
    b.sum(products, &[0], false)
}

impl Geometry {
    /// The gradient of the kernel.
    pub(super) fn weight_grad(&self, b: &mut Builder, x: ValueId, dy: ValueId) -> Rule<ValueId> {
        let [dw] = b.call(&WEIGHT_GRAD, [x, dy], self.attrs(), |b, [x, dy]| {
            let dw = if let Some(folded) = self.space_to_depth() {
                self.weight_grad_folded(b, x, dy, &folded)?
            } else {
                let x = self.padded(b, x)?;
                self.weight_grad_direct(b, x, dy)?
            };
            Ok([dw])
        })?;
        Ok(dw)
    }

    pub(super) fn padded(&self, b: &mut Builder, x: ValueId) -> Rule<ValueId> {
        let pads = |p: &[usize]| [vec![0, 0], signed(p)].concat();
        b.pad(x, &pads(&self.window.pads_begin), &pads(&self.window.pads_end), 0.0)
    }

    /// Where kernel position `tap` meets the padded input: the phase, which is its remainder by the stride, and the first index in it.
    fn place(&self, tap: &[usize]) -> Rule<(Vec<usize>, Vec<usize>)> {
        let places = tap.iter().zip(self.window.axes()).map(|(&tap, axis)| {
            let at = (whole(tap) * axis.dilation).size()?;
            Ok((at.checked_rem(axis.stride).unwrap_or(0), at.checked_div(axis.stride).unwrap_or(at)))
        });
        Ok(places.collect::<Rule<Vec<_>>>()?.into_iter().unzip())
    }

    /// The padded input taken apart, so that what a tap meets is one piece of a phase, in whole lines.
    pub(super) fn phases(&self, b: &mut Builder, padded: ValueId) -> Rule<Phased> {
        let places = self.taps().iter().map(|tap| Ok(self.place(tap)?.0)).collect::<Rule<_>>()?;
        take_apart(b, padded, &self.window.strides, &places)
    }

    /// The elements of the padded input that kernel position `tap` meets.
    pub(super) fn tap(&self, b: &mut Builder, phases: &Phased, tap: &[usize]) -> Rule<ValueId> {
        let (phase, start) = self.place(tap)?;
        let part = *phases.get(&phase).ok_or("a kernel position meets nothing")?;
        self.cut(b, part, &start)
    }

    /// A phase from `start` on, as long as the output, along the spatial axes for which there is a start.
    fn cut(&self, b: &mut Builder, part: ValueId, start: &[usize]) -> Rule<ValueId> {
        let (mut axes, mut starts, mut ends) = (vec![], vec![], vec![]);
        for ((axis, &start), &size) in self.spatial_axes().into_iter().zip(start).zip(&self.output) {
            if start > 0 || b.shape(part).get(axis) != Some(&Dim::Known(size)) {
                axes.push(axis);
                starts.push(start as i64);
                ends.push((whole(start) + size).int()?);
            }
        }
        if axes.is_empty() { Ok(part) } else { b.slice(part, &axes, &starts, &ends, &vec![1; axes.len()]) }
    }

    fn weight_grad_direct(&self, b: &mut Builder, x: ValueId, dy: ValueId) -> Rule<ValueId> {
        let ((per_group, features), pixels) = (self.of_group()?, self.pixels()?);
        let taps = self.taps();
        let pieces = times(&[taps.len(), self.channels])?;
        let shape: Vec<Dim> = [self.features, per_group].iter().chain(&self.window.kernel).map(|&d| Dim::Known(d)).collect();
        if per_group == 1 && features == 1 {
            // Depthwise: one channel meets one map.
            let axes: Vec<usize> = std::iter::once(0).chain(self.spatial_axes()).collect();
            let x = self.phases(b, x)?;
            let mut parts = vec![];
            for t in &taps {
                let slice = self.tap(b, &x, t)?;
                let meets = b.mul(slice, dy)?;
                let sum = b.sum(meets, &axes, false)?;
                parts.push(b.reshape(sum, &[self.features.into(), 1.into(), 1.into()])?);
            }
            let stacked = b.concat(&parts, 2)?;
            return b.reshape(stacked, &shape);
        }
        if self.group > 1 {
            let dy = b.reshape(dy, &[self.batch, self.group.into(), features.into(), pixels.into()])?;
            let x = self.phases(b, x)?;
            let mut parts = vec![];
            for t in &taps {
                let slice = self.tap(b, &x, t)?;
                let rows = b.reshape(slice, &[self.batch, self.group.into(), per_group.into(), pixels.into()])?;
                let columns = b.transpose(rows, &[0, 1, 3, 2])?;
                let sum = over_batch(b, dy, columns)?;
                parts.push(b.reshape(sum, &[self.features.into(), per_group.into(), 1.into()])?);
            }
            let stacked = b.concat(&parts, 2)?;
            return b.reshape(stacked, &shape);
        }
        if self.output.iter().all(|&s| s >= LARGE_MAP) || pieces <= STACKED_ROWS {
            return match self.prefers_lines(&taps, pieces)? {
                true => self.weight_grad_by_line(b, x, dy, &shape),
                false => self.weight_grad_by_image(b, x, dy, &taps, pixels, &shape),
            };
        }
        // Small maps: rows over channels, columns over all pixels of the batch, one product for all taps.
        let perm = self.channels_first();
        let columns = product(&[self.batch, pixels.into()]).ok_or("the batch size enters twice")?;
        let dy = b.transpose(dy, &perm)?;
        let dy = b.reshape(dy, &[self.features.into(), columns])?;
        let x = b.transpose(x, &perm)?;
        let x = self.phases(b, x)?;
        let mut parts = vec![];
        for t in &taps {
            let slice = self.tap(b, &x, t)?;
            parts.push(b.reshape(slice, &[self.channels.into(), 1.into(), columns])?);
        }
        // Channel by channel, as the kernel's layout has it.
        let stacked = b.concat(&parts, 1)?;
        let stacked = b.reshape(stacked, &[pieces.into(), columns])?;
        let dw = b.gemm(dy, false, stacked, true)?;
        b.reshape(dw, &shape)
    }

    /// `[features, taps·channels]`, in parts, to the kernel's layout.
    fn taps_last(&self, b: &mut Builder, parts: &[ValueId], taps: usize, shape: &[Dim]) -> Rule<ValueId> {
        let dw = b.concat(parts, 1)?;
        let dw = b.reshape(dw, &[self.features.into(), taps.into(), self.channels.into()])?;
        let dw = if taps > 1 { b.transpose(dw, &[0, 2, 1])? } else { dw };
        b.reshape(dw, shape)
    }

    /// Large maps: one product per image (and per tap, unless they are stacked), summed over the batch.
    fn weight_grad_by_image(
        &self,
        b: &mut Builder,
        x: ValueId,
        dy: ValueId,
        taps: &[Vec<usize>],
        pixels: usize,
        shape: &[Dim],
    ) -> Rule<ValueId> {
        let dy = b.reshape(dy, &[self.batch, self.features.into(), pixels.into()])?;
        let x = self.phases(b, x)?;
        let mut rows = vec![];
        for t in taps {
            let slice = self.tap(b, &x, t)?;
            rows.push(b.reshape(slice, &[self.batch, self.channels.into(), pixels.into()])?);
        }
        if times(&[taps.len(), self.channels])? <= STACKED_ROWS {
            rows = vec![b.concat(&rows, 1)?];
        }
        let mut parts = vec![];
        for row in rows {
            let columns = b.transpose(row, &[0, 2, 1])?;
            parts.push(over_batch(b, dy, columns)?);
        }
        self.taps_last(b, &parts, taps.len(), shape)
    }

    /// Whether whole lines are less to copy than what every kernel position meets. The pieces of few channels are stacked anyway.
    fn prefers_lines(&self, taps: &[Vec<usize>], pieces: usize) -> Rule<bool> {
        let (mut moves, mut lines) = (BTreeSet::new(), BTreeSet::new());
        for tap in taps {
            let (phase, mut start) = self.place(tap)?;
            moves.insert(start.pop());
            lines.insert((phase, start));
        }
        let copied = (whole(moves.len()) * self.features + whole(lines.len()) * self.channels).size()?;
        Ok(pieces > STACKED_ROWS && copied < pieces)
    }

    /// Large maps: whole lines of `x`, and `dY` moved along the line, so that few and long pieces are copied. A line of `dY` has zeros
    /// where `x` has what the kernel position does not meet.
    fn weight_grad_by_line(&self, b: &mut Builder, x: ValueId, dy: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        let taps = self.taps();
        let (&width, above) = self.output.split_last().ok_or("its maps have no lines")?;
        let x = self.phases(b, x)?;
        let flat = |b: &mut Builder, v: ValueId, channels: usize, line: usize| {
            let pixels = times(&[above, &[line]].concat())?;
            b.reshape(v, &[self.batch, channels.into(), pixels.into()])
        };
        // Along the last axis only.
        let along = |last: i64| [vec![0, 0], vec![0; above.len()], vec![last]].concat();
        let (mut lines, mut moved) = (BTreeMap::new(), BTreeMap::new());
        let mut parts = vec![];
        for tap in &taps {
            let (phase, mut start) = self.place(tap)?;
            let part = *x.get(&phase).ok_or("a kernel position meets nothing")?;
            let line = b.shape(part).last().and_then(|d| d.known()).ok_or("the length of a line is not known")?;
            let first = start.pop().ok_or("its maps have no lines")?;
            let columns = match lines.entry((phase, start.clone())) {
                Entry::Occupied(made) => *made.get(),
                Entry::Vacant(place) => {
                    let cut = self.cut(b, part, &start)?;
                    let rows = flat(b, cut, self.channels, line)?;
                    *place.insert(b.transpose(rows, &[0, 2, 1])?)
                }
            };
            let rows = match moved.entry((first, line)) {
                Entry::Occupied(made) => *made.get(),
                Entry::Vacant(place) => {
                    let padded = b.pad(dy, &along(first as i64), &along((whole(line) - width - first).int()?), 0.0)?;
                    *place.insert(flat(b, padded, self.features, line)?)
                }
            };
            parts.push(over_batch(b, rows, columns)?);
        }
        self.taps_last(b, &parts, taps.len(), shape)
    }

    /// For a strided kernel over few channels (a network's stem): the unit-stride convolution on `strides`-times smaller maps
    /// with `strides`-times more channels that computes the same. A 7×7 kernel of stride 2 has 16 taps then, not 49.
    fn space_to_depth(&self) -> Option<Geometry> {
        let win = &self.window;
        let block = win.strides.iter().try_fold(1usize, |a, &b| a.checked_mul(b))?;
        let suits = self.group == 1
            && block > 1
            && self.channels.saturating_mul(block) <= STACKED_ROWS
            && win.dilations.iter().all(|&d| d == 1)
            && win.kernel.iter().zip(&win.strides).all(|(k, s)| k > s);
        if !suits {
            return None;
        }
        let kernel: Vec<usize> = win.axes().map(|axis| axis.kernel.div_ceil(axis.stride)).collect();
        let input = self.output.iter().zip(&kernel).map(|(&size, &k)| (whole(size) + k - 1usize).size().ok()).collect::<Option<_>>()?;
        let (zeros, ones) = (vec![0; self.rank()], vec![1; self.rank()]);
        let window = Window { kernel, strides: ones.clone(), dilations: ones, pads_begin: zeros.clone(), pads_end: zeros, ceil: false };
        Some(Geometry { window, input, channels: self.channels.checked_mul(block)?, ..self.clone() })
    }

    fn weight_grad_folded(&self, b: &mut Builder, x: ValueId, dy: ValueId, folded: &Geometry) -> Rule<ValueId> {
        let (rank, win) = (self.rank(), &self.window);
        // Pad or crop at the end, so that every block is whole.
        let end =
            self.sides().zip(&folded.input).map(|((axis, input, _), &blocks)| (whole(blocks) * axis.stride - input - axis.begin).int());
        let (begin, end) = (signed(&win.pads_begin), end.collect::<Rule<Vec<_>>>()?);
        let x = b.pad(x, &[vec![0, 0], begin].concat(), &[vec![0, 0], end].concat(), 0.0)?;
        // [N, C, h·s, w·s] → s·s times [N, C, h, w] → [N, s·s·C, h, w].
        let places = win.strides.iter().fold(vec![vec![]], |list: Vec<Vec<usize>>, &s| {
            list.iter().flat_map(|p| (0..s).map(move |i| [p.as_slice(), &[i]].concat())).collect()
        });
        let parts = take_apart(b, x, &win.strides, &places.into_iter().collect())?;
        let x = b.concat(&parts.into_values().collect::<Vec<_>>(), 1)?;
        let dw = folded.weight_grad_direct(b, x, dy)?;
        // [M, s·s·C, t, t] → [M, s, s, C, t, t] → [M, C, t, s, t, s] → [M, C, t·s, t·s], cut to the kernel.
        let apart = [&[self.features], win.strides.as_slice(), &[self.channels], &folded.window.kernel].concat();
        let dw = b.reshape(dw, &known(&apart))?;
        let of_blocks = (1..).take(rank);
        let (channels, of_taps) = (rank.saturating_add(1), rank.saturating_add(2)..);
        let perm: Vec<usize> = [0, channels].into_iter().chain(of_taps.zip(of_blocks).flat_map(|(tap, block)| [tap, block])).collect();
        let dw = b.transpose(dw, &perm)?;
        let spatial = folded.window.kernel.iter().zip(&win.strides).map(|(&k, &s)| times(&[k, s])).collect::<Rule<Vec<_>>>()?;
        let dw = b.reshape(dw, &known(&[vec![self.features, self.channels], spatial].concat()))?;
        b.slice(dw, &self.spatial_axes(), &vec![0; rank], &signed(&win.kernel), &vec![1; rank])
    }
}
