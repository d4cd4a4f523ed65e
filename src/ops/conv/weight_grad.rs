//! The gradient of a convolution's kernel.

use super::LARGE_MAP;
use super::geometry::Geometry;
use crate::ir::{Dim, ValueId, product};
use crate::operator::window::Window;
use crate::operator::{Builder, Function, Rule};
use crate::ops::blocks::strided::take_apart;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

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
        let pads = |p: &[usize]| [vec![0, 0], p.iter().map(|&p| p as i64).collect()].concat();
        b.pad(x, &pads(&self.window.pads_begin), &pads(&self.window.pads_end), 0.0)
    }

    /// Where kernel position `tap` meets the padded input: the phase, which is its remainder by the stride, and the first index in it.
    fn place(&self, tap: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let win = &self.window;
        let at = (0..self.rank()).map(|i| tap[i] * win.dilations[i]);
        at.enumerate().map(|(i, at)| (at % win.strides[i], at / win.strides[i])).unzip()
    }

    /// The padded input taken apart, so that what a tap meets is one piece of a phase, in whole lines.
    pub(super) fn phases(&self, b: &mut Builder, padded: ValueId) -> Rule<Phased> {
        let places = self.taps().iter().map(|tap| self.place(tap).0).collect();
        take_apart(b, padded, &self.window.strides, &places)
    }

    /// The elements of the padded input that kernel position `tap` meets.
    pub(super) fn tap(&self, b: &mut Builder, phases: &Phased, tap: &[usize]) -> Rule<ValueId> {
        let (phase, start) = self.place(tap);
        let part = *phases.get(&phase).ok_or("a kernel position meets nothing")?;
        self.cut(b, part, &start, 0..self.rank())
    }

    /// A phase from `start` on, as long as the output, along some of the spatial axes.
    fn cut(&self, b: &mut Builder, part: ValueId, start: &[usize], axes: Range<usize>) -> Rule<ValueId> {
        let cut: Vec<usize> = axes.filter(|&i| start[i] > 0 || b.shape(part)[2 + i] != Dim::Known(self.output[i])).collect();
        if cut.is_empty() {
            return Ok(part);
        }
        let axes: Vec<usize> = cut.iter().map(|&i| 2 + i).collect();
        let starts: Vec<i64> = cut.iter().map(|&i| start[i] as i64).collect();
        let ends: Vec<i64> = cut.iter().map(|&i| (start[i] + self.output[i]) as i64).collect();
        b.slice(part, &axes, &starts, &ends, &vec![1; cut.len()])
    }

    fn weight_grad_direct(&self, b: &mut Builder, x: ValueId, dy: ValueId) -> Rule<ValueId> {
        let (per_group, features) = (self.channels / self.group, self.features / self.group);
        let taps = self.taps();
        let pixels: usize = self.output.iter().product();
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
        if self.output.iter().all(|&s| s >= LARGE_MAP) || taps.len() * self.channels <= STACKED_ROWS {
            return match self.prefers_lines(&taps) {
                true => self.weight_grad_by_line(b, x, dy, &shape),
                false => self.weight_grad_by_image(b, x, dy, &taps, pixels, &shape),
            };
        }
        // Small maps: rows over channels, columns over all pixels of the batch, one product for all taps.
        let mut perm: Vec<usize> = (0..2 + self.rank()).collect();
        perm.swap(0, 1);
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
        let stacked = b.reshape(stacked, &[(self.channels * taps.len()).into(), columns])?;
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
        if taps.len() * self.channels <= STACKED_ROWS {
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
    fn prefers_lines(&self, taps: &[Vec<usize>]) -> bool {
        let last = self.rank() - 1;
        let places: Vec<_> = taps.iter().map(|t| self.place(t)).collect();
        let moves: BTreeSet<usize> = places.iter().map(|(_, start)| start[last]).collect();
        let lines: BTreeSet<_> = places.iter().map(|(phase, start)| (phase, &start[..last])).collect();
        let pieces = taps.len() * self.channels;
        pieces > STACKED_ROWS && moves.len() * self.features + lines.len() * self.channels < pieces
    }

    /// Large maps: whole lines of `x`, and `dY` moved along the line, so that few and long pieces are copied. A line of `dY` has zeros
    /// where `x` has what the kernel position does not meet.
    fn weight_grad_by_line(&self, b: &mut Builder, x: ValueId, dy: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        let (last, taps) = (self.rank() - 1, self.taps());
        let x = self.phases(b, x)?;
        let flat = |b: &mut Builder, v: ValueId, channels: usize, line: usize| {
            let pixels = self.output[..last].iter().product::<usize>() * line;
            b.reshape(v, &[self.batch, channels.into(), pixels.into()])
        };
        let (mut lines, mut moved) = (BTreeMap::new(), BTreeMap::new());
        let mut parts = vec![];
        for tap in &taps {
            let (phase, start) = self.place(tap);
            let part = *x.get(&phase).ok_or("a kernel position meets nothing")?;
            let line = b.shape(part)[2 + last].known().ok_or("the length of a line is not known")?;
            let columns = match lines.entry((phase, start[..last].to_vec())) {
                Entry::Occupied(made) => *made.get(),
                Entry::Vacant(place) => {
                    let cut = self.cut(b, part, &start, 0..last)?;
                    let rows = flat(b, cut, self.channels, line)?;
                    *place.insert(b.transpose(rows, &[0, 2, 1])?)
                }
            };
            let rows = match moved.entry((start[last], line)) {
                Entry::Occupied(made) => *made.get(),
                Entry::Vacant(place) => {
                    let (mut begin, mut end) = (vec![0; 2 + self.rank()], vec![0; 2 + self.rank()]);
                    begin[2 + last] = start[last] as i64;
                    end[2 + last] = line as i64 - (self.output[last] + start[last]) as i64;
                    let padded = b.pad(dy, &begin, &end, 0.0)?;
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
        suits.then(|| {
            let kernel: Vec<usize> = win.kernel.iter().zip(&win.strides).map(|(k, s)| k.div_ceil(*s)).collect();
            let input = (0..self.rank()).map(|i| self.output[i] + kernel[i] - 1).collect();
            let (zeros, ones) = (vec![0; self.rank()], vec![1; self.rank()]);
            let window = Window { kernel, strides: ones.clone(), dilations: ones, pads_begin: zeros.clone(), pads_end: zeros, ceil: false };
            Geometry { window, input, channels: self.channels * block, ..self.clone() }
        })
    }

    fn weight_grad_folded(&self, b: &mut Builder, x: ValueId, dy: ValueId, folded: &Geometry) -> Rule<ValueId> {
        let (rank, win) = (self.rank(), &self.window);
        // Pad or crop at the end, so that every block is whole.
        let end: Vec<i64> =
            (0..rank).map(|i| (folded.input[i] * win.strides[i]) as i64 - (self.input[i] + win.pads_begin[i]) as i64).collect();
        let begin: Vec<i64> = win.pads_begin.iter().map(|&p| p as i64).collect();
        let x = b.pad(x, &[vec![0, 0], begin].concat(), &[vec![0, 0], end].concat(), 0.0)?;
        // [N, C, h·s, w·s] → s·s times [N, C, h, w] → [N, s·s·C, h, w].
        let places = win.strides.iter().fold(vec![vec![]], |list: Vec<Vec<usize>>, &s| {
            list.iter().flat_map(|p| (0..s).map(move |i| [p.as_slice(), &[i]].concat())).collect()
        });
        let parts = take_apart(b, x, &win.strides, &places.into_iter().collect())?;
        let x = b.concat(&parts.into_values().collect::<Vec<_>>(), 1)?;
        let dw = folded.weight_grad_direct(b, x, dy)?;
        // [M, s·s·C, t, t] → [M, s, s, C, t, t] → [M, C, t, s, t, s] → [M, C, t·s, t·s], cut to the kernel.
        let known = |v: &[usize]| v.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>();
        let apart = [&[self.features], win.strides.as_slice(), &[self.channels], &folded.window.kernel].concat();
        let dw = b.reshape(dw, &known(&apart))?;
        let perm: Vec<usize> = [0, 1 + rank].into_iter().chain((0..rank).flat_map(|i| [2 + rank + i, 1 + i])).collect();
        let dw = b.transpose(dw, &perm)?;
        let joined: Vec<usize> =
            [self.features, self.channels].into_iter().chain((0..rank).map(|i| folded.window.kernel[i] * win.strides[i])).collect();
        let dw = b.reshape(dw, &known(&joined))?;
        let ends: Vec<i64> = win.kernel.iter().map(|&k| k as i64).collect();
        b.slice(dw, &self.spatial_axes(), &vec![0; rank], &ends, &vec![1; rank])
    }
}
