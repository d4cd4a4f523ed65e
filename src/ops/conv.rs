//! Convolution and its transpose.
//!
//! The forms of the gradients are chosen by shape; what each costs on ONNX Runtime's CPU provider is in docs/performance.md.

use super::build::attrs;
use super::window::Window;
use super::{Builder, Grad, Import, Operator, PerSample, Rule, Samples, Slot, View, fixed, floating};
use crate::ir::{Attr, Attrs, Dim, Node, TensorType, ValueId, product};
use std::collections::BTreeMap;

/// Output maps at least this high and wide take the form with one product per kernel tap.
const LARGE_MAP: usize = 28;
/// With at most this many rows the taps' slices are stacked, so that one product does for all.
const STACKED_ROWS: usize = 64;

/// The padded input of a strided convolution by phase, see [`Geometry::phases`].
type Phased = BTreeMap<Vec<usize>, ValueId>;

/// The geometry of one convolution; for a transposed one, of the convolution that it transposes.
#[derive(Clone)]
struct Geometry {
    window: Window,
    group: usize,
    batch: Dim,
    /// Channels and spatial sizes of the larger side (a convolution's input).
    channels: usize,
    input: Vec<usize>,
    /// Channels and spatial sizes of the smaller side (a convolution's output).
    features: usize,
    output: Vec<usize>,
}

impl Geometry {
    fn new(node: &Node, large: &TensorType, small: &TensorType, kernel: &TensorType) -> Rule<Geometry> {
        let spatial = |t: &TensorType| fixed(&TensorType { dtype: t.dtype, shape: t.shape[1..].to_vec() });
        let (large_dims, small_dims) = (spatial(large)?, spatial(small)?);
        Ok(Geometry {
            window: Window::of(node, fixed(kernel)?[2..].to_vec()),
            group: node.int("group", 1) as usize,
            batch: large.shape[0],
            channels: large_dims[0],
            input: large_dims[1..].to_vec(),
            features: small_dims[0],
            output: small_dims[1..].to_vec(),
        })
    }

    fn rank(&self) -> usize {
        self.input.len()
    }

    fn attrs(&self) -> Attrs {
        let ints = |v: &[usize]| Attr::Ints(v.iter().map(|&x| x as i64).collect());
        attrs([
            ("kernel_shape", ints(&self.window.kernel)),
            ("strides", ints(&self.window.strides)),
            ("dilations", ints(&self.window.dilations)),
            ("pads", Attr::Ints(self.window.pads())),
            ("group", Attr::Int(self.group as i64)),
        ])
    }

    fn pointwise(&self) -> bool {
        self.window.kernel.iter().all(|&k| k == 1)
    }

    fn unit_stride(&self) -> bool {
        self.window.strides.iter().all(|&s| s == 1)
    }

    /// All positions of the kernel, row-major.
    fn taps(&self) -> Vec<Vec<usize>> {
        self.window
            .kernel
            .iter()
            .fold(vec![vec![]], |list, &k| list.iter().flat_map(|t| (0..k).map(move |i| [t.as_slice(), &[i]].concat())).collect())
    }

    /// The axes of the spatial dimensions.
    fn spatial_axes(&self) -> Vec<usize> {
        (2..2 + self.rank()).collect()
    }

    /// The gradient of the input: `dY` convolved with the kernel turned over, or a transposed convolution.
    fn input_grad(&self, b: &mut Builder, dy: ValueId, w: ValueId) -> Rule<ValueId> {
        let mut attributes = self.attrs();
        // A strided convolution's output does not tell the input's size.
        attributes.insert("input_shape".into(), Attr::Ints(self.input.iter().map(|&s| s as i64).collect()));
        let dx = b.call("ConvInputGrad", &[dy, w], attributes, |b, i| {
            let reach: Vec<usize> = (0..self.rank()).map(|i| self.window.extent(i) - 1).collect();
            let fits = reach.iter().zip(&self.window.pads_begin).all(|(r, p)| r >= p)
                && reach.iter().zip(&self.window.pads_end).all(|(r, p)| r >= p);
            let large = self.output.iter().all(|&s| s >= LARGE_MAP);
            // A strided convolution may leave a rim of the input unread; only the transposed form can restore it.
            if self.group == 1 && self.unit_stride() && fits && (self.pointwise() || large) {
                self.turned_over(b, i[0], i[1], &reach).map(|v| vec![v])
            } else {
                self.transposed(b, i[0], i[1]).map(|v| vec![v])
            }
        })?;
        Ok(dx[0])
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

    /// The gradient of the kernel.
    fn weight_grad(&self, b: &mut Builder, x: ValueId, dy: ValueId) -> Rule<ValueId> {
        let dw = b.call("ConvWeightGrad", &[x, dy], self.attrs(), |b, i| {
            let dw = if let Some(folded) = self.space_to_depth() {
                self.weight_grad_folded(b, i[0], i[1], &folded)?
            } else {
                let x = self.padded(b, i[0])?;
                self.weight_grad_direct(b, x, i[1])?
            };
            Ok(vec![dw])
        })?;
        Ok(dw[0])
    }

    fn padded(&self, b: &mut Builder, x: ValueId) -> Rule<ValueId> {
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
    fn phases(&self, b: &mut Builder, padded: ValueId) -> Rule<Phased> {
        let mut sizes: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
        for tap in self.taps() {
            let (phase, start) = self.place(&tap);
            let size = sizes.entry(phase).or_insert_with(|| vec![0; self.rank()]);
            for i in 0..self.rank() {
                size[i] = size[i].max(start[i] + self.output[i]);
            }
        }
        let mut phases = BTreeMap::new();
        for (phase, size) in sizes {
            let strides = &self.window.strides;
            let starts: Vec<i64> = phase.iter().map(|&p| p as i64).collect();
            let steps: Vec<i64> = strides.iter().map(|&s| s as i64).collect();
            let ends: Vec<i64> = (0..self.rank()).map(|i| (phase[i] + (size[i] - 1) * strides[i] + 1) as i64).collect();
            let whole = |i: usize| strides[i] == 1 && b.shape(padded)[2 + i] == Dim::Known(size[i]);
            let part = match (0..self.rank()).all(whole) {
                true => padded,
                false => b.slice(padded, &self.spatial_axes(), &starts, &ends, &steps)?,
            };
            phases.insert(phase, part);
        }
        Ok(phases)
    }

    /// The elements of the padded input that kernel position `tap` meets.
    fn tap(&self, b: &mut Builder, phases: &Phased, tap: &[usize]) -> Rule<ValueId> {
        let (phase, start) = self.place(tap);
        let part = *phases.get(&phase).ok_or("a kernel position meets nothing")?;
        let cut: Vec<usize> = (0..self.rank()).filter(|&i| start[i] > 0 || b.shape(part)[2 + i] != Dim::Known(self.output[i])).collect();
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
                let products = b.matmul(dy, columns)?;
                let sum = b.sum(products, &[0], false)?;
                parts.push(b.reshape(sum, &[self.features.into(), per_group.into(), 1.into()])?);
            }
            let stacked = b.concat(&parts, 2)?;
            return b.reshape(stacked, &shape);
        }
        if self.output.iter().all(|&s| s >= LARGE_MAP) || taps.len() * self.channels <= STACKED_ROWS {
            // What each form copies, in channels of a map.
            let across = self.window.kernel.last().copied().unwrap_or(1);
            let (lines, pieces) = (across * self.features + taps.len() / across * self.channels, taps.len() * self.channels);
            let by_line = self.unit_stride() && across > 1 && pieces > STACKED_ROWS && lines < pieces;
            return match by_line {
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
            parts.push(b.reshape(slice, &[self.channels.into(), columns])?);
        }
        let stacked = b.concat(&parts, 0)?;
        let dw = b.gemm(dy, false, stacked, true)?;
        self.taps_last(b, dw, taps.len(), &shape)
    }

    /// `[features, taps·channels]` to the kernel's layout.
    fn taps_last(&self, b: &mut Builder, dw: ValueId, taps: usize, shape: &[Dim]) -> Rule<ValueId> {
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
            let products = b.matmul(dy, columns)?;
            parts.push(b.sum(products, &[0], false)?);
        }
        let dw = b.concat(&parts, 1)?;
        self.taps_last(b, dw, taps.len(), shape)
    }

    /// Large maps, unit strides: whole lines of `x`, and `dY` moved along the line, so that few and long pieces are copied. A line of
    /// `dY` has zeros where `x` has what the kernel position does not meet.
    fn weight_grad_by_line(&self, b: &mut Builder, x: ValueId, dy: ValueId, shape: &[Dim]) -> Rule<ValueId> {
        let (win, last) = (&self.window, self.rank() - 1);
        let line = self.output[last] + (win.kernel[last] - 1) * win.dilations[last];
        let pixels = self.output[..last].iter().product::<usize>() * line;
        let mut moved = vec![];
        for position in 0..win.kernel[last] {
            let (mut begin, mut end) = (vec![0; 2 + self.rank()], vec![0; 2 + self.rank()]);
            begin[2 + last] = (position * win.dilations[last]) as i64;
            end[2 + last] = (line - self.output[last]) as i64 - begin[2 + last];
            let dy = b.pad(dy, &begin, &end, 0.0)?;
            moved.push(b.reshape(dy, &[self.batch, self.features.into(), pixels.into()])?);
        }
        let axes: Vec<usize> = (2..2 + last).collect();
        let mut parts = vec![];
        for tap in self.taps().iter().step_by(win.kernel[last]) {
            let starts: Vec<i64> = (0..last).map(|i| (tap[i] * win.dilations[i]) as i64).collect();
            let ends: Vec<i64> = (0..last).map(|i| starts[i] + self.output[i] as i64).collect();
            let whole = (0..last).all(|i| win.kernel[i] == 1);
            let lines = if whole { x } else { b.slice(x, &axes, &starts, &ends, &vec![1; last])? };
            let rows = b.reshape(lines, &[self.batch, self.channels.into(), pixels.into()])?;
            let columns = b.transpose(rows, &[0, 2, 1])?;
            for &dy in &moved {
                let products = b.matmul(dy, columns)?;
                parts.push(b.sum(products, &[0], false)?);
            }
        }
        let dw = b.concat(&parts, 1)?;
        self.taps_last(b, dw, self.taps().len(), shape)
    }

    /// The gradient of the kernel for each sample: `dYₙ·Xₙᵀ`, where `X` holds a row for every channel and kernel tap.
    ///
    /// `X` is made once per row of `large`; all cotangents of that row meet it in one product.
    fn sample_grad(&self, b: &mut Builder, large: ValueId, small: ValueId, rows: usize, copies: usize) -> Rule<PerSample> {
        let mut attributes = self.attrs();
        attributes.insert("copies".into(), Attr::Int(copies as i64));
        let (taps, group) = (self.taps(), self.group);
        let (per_group, features) = (self.channels / group, self.features / group);
        let pixels: usize = self.output.iter().product();
        let known = |dims: &[usize]| dims.iter().map(|&d| Dim::Known(d)).collect::<Vec<_>>();
        let dw = b.call("ConvSampleGrad", &[large, small], attributes, |b, i| {
            let x = self.padded(b, i[0])?;
            let x = self.phases(b, x)?;
            let mut parts = vec![];
            for t in &taps {
                let slice = self.tap(b, &x, t)?;
                parts.push(b.reshape(slice, &known(&[rows, group, per_group, pixels]))?);
            }
            let stacked = b.concat(&parts, 2)?;
            let width = taps.len() * per_group;
            let dw = if group == 1 {
                let x = b.reshape(stacked, &known(&[rows, width, pixels]))?;
                let columns = b.transpose(x, &[0, 2, 1])?;
                let dy = b.reshape(i[1], &known(&[rows, copies * features, pixels]))?;
                b.matmul(dy, columns)?
            } else {
                let x = b.reshape(stacked, &known(&[rows, 1, group, width, pixels]))?;
                let columns = b.transpose(x, &[0, 1, 2, 4, 3])?;
                let dy = b.reshape(i[1], &known(&[rows, copies, group, features, pixels]))?;
                b.matmul(dy, columns)?
            };
            Ok(vec![b.reshape(dw, &known(&[rows * copies, self.features, taps.len(), per_group]))?])
        })?;
        Ok(PerSample::Dense { value: dw[0], order: vec![0, 2, 1] })
    }

    /// For a strided kernel over few channels (a network's stem): the unit-stride convolution on `strides`-times smaller maps
    /// with `strides`-times more channels that computes the same. A 7×7 kernel of stride 2 has 16 taps then, not 49.
    fn space_to_depth(&self) -> Option<Geometry> {
        let win = &self.window;
        let block: usize = win.strides.iter().product();
        let suits = self.group == 1
            && block > 1
            && self.channels * block <= STACKED_ROWS
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
        // One strided slice for each place in a block: [N, C, h·s, w·s] → s·s times [N, C, h, w] → [N, s·s·C, h, w].
        let places = win.strides.iter().fold(vec![vec![]], |list: Vec<Vec<i64>>, &s| {
            list.iter().flat_map(|p| (0..s as i64).map(move |i| [p.as_slice(), &[i]].concat())).collect()
        });
        let ends: Vec<i64> = (0..rank).map(|i| (folded.input[i] * win.strides[i]) as i64).collect();
        let steps: Vec<i64> = win.strides.iter().map(|&s| s as i64).collect();
        let parts = places.iter().map(|p| b.slice(x, &self.spatial_axes(), p, &ends, &steps)).collect::<Rule<Vec<_>>>()?;
        let x = b.concat(&parts, 1)?;
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

/// Sum over everything but the channels.
fn bias_grad(b: &mut Builder, dy: ValueId) -> Rule<ValueId> {
    let axes: Vec<usize> = (0..b.rank(dy)).filter(|&a| a != 1).collect();
    b.sum(dy, &axes, false)
}

/// Each sample's sum over the pixels.
fn bias_sample_grad(b: &mut Builder, dy: ValueId) -> Rule<PerSample> {
    let axes: Vec<usize> = (2..b.rank(dy)).collect();
    let sum = b.sum(dy, &axes, false)?;
    Ok(PerSample::dense(b, sum))
}

fn group_of(node: &Node) -> Rule<usize> {
    usize::try_from(node.int("group", 1)).ok().filter(|&g| g > 0).ok_or_else(|| "`group` must be at least 1".into())
}

/// Groups, dilations, strides, asymmetric pads and auto_pad, in one to three dimensions.
pub struct Conv;

impl Operator for Conv {
    fn op_type(&self) -> &'static str {
        "Conv"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("group", 1)?;
        import_window(cx)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, w) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(x)?;
        if x.rank() < 3 || w.rank() != x.rank() {
            return Err(format!("an input {x} and a kernel {w} do not fit together"));
        }
        let kernel = fixed(w)?;
        let group = group_of(n.node)?;
        if x.shape[1] != Dim::Known(kernel[1] * group) || kernel[0] % group != 0 {
            return Err(format!("the kernel {w} with {group} groups does not fit the input {x}"));
        }
        let window = Window::of(n.node, kernel[2..].to_vec());
        let shape = [x.shape[0], kernel[0].into()].into_iter().chain(window.output(&x.shape[2..])?).collect();
        Ok(vec![TensorType { dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let geometry = Geometry::new(&g.node, b.ty(x), b.ty(dy), b.ty(w))?;
        let dx = if g.needs(0) { Some(geometry.input_grad(b, dy, w)?) } else { None };
        let dw = if g.needs(1) { Some(geometry.weight_grad(b, x, dy)?) } else { None };
        let db = if g.needs(2) { Some(bias_grad(b, dy)?) } else { None };
        Ok(vec![dx, dw, db])
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let (x, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let geometry = Geometry::new(&g.node, b.ty(x), b.ty(dy), b.ty(w))?;
        let dw = if g.needs(1) { Some(geometry.sample_grad(b, x, dy, s.rows, s.copies)?) } else { None };
        let db = if g.needs(2) { Some(bias_sample_grad(b, dy)?) } else { None };
        Ok(vec![None, dw, db])
    }

    fn slots(&self, _: &View) -> Vec<Slot> {
        vec![Slot::Data, Slot::Kernel { axis: 0 }, Slot::Bias]
    }

    fn notes(&self) -> &'static str {
        "1-D to 3-D; groups, dilations, strides, asymmetric pads, auto_pad; spatial sizes must be known"
    }
}

/// Reads kernel_shape, strides, dilations, pads and auto_pad of a (transposed) convolution.
fn import_window(cx: &mut Import) -> Rule<()> {
    let kernel = fixed(cx.ty(1)?)?;
    let spatial = cx.ty(0)?.shape.get(2..).unwrap_or_default().to_vec();
    if kernel.len() < 3 {
        return Err("its kernel has no spatial dimension".into());
    }
    Window::import(cx, kernel[2..].to_vec(), &spatial).map(drop)
}

/// The transpose of a convolution, without auto_pad and output_shape.
pub struct ConvTranspose;

impl Operator for ConvTranspose {
    fn op_type(&self) -> &'static str {
        "ConvTranspose"
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("group", 1)?;
        let padding = cx.ints("output_padding")?;
        let auto_pad = cx.string("auto_pad", "NOTSET")?;
        if cx.ints("output_shape")?.is_some() || auto_pad != "NOTSET" {
            return Err("`output_shape` and `auto_pad` are not supported; export it with explicit pads".into());
        }
        import_window(cx)?;
        let rank = cx.ty(0)?.rank() - 2;
        cx.set("output_padding", Attr::Ints(padding.unwrap_or_else(|| vec![0; rank])));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, w) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(x)?;
        let kernel = fixed(w)?;
        if x.rank() < 3 || w.rank() != x.rank() || x.shape[1] != Dim::Known(kernel[0]) {
            return Err(format!("an input {x} and a kernel {w} do not fit together"));
        }
        let win = Window::of(n.node, kernel[2..].to_vec());
        let extra = n.node.ints("output_padding");
        let mut shape = vec![x.shape[0], Dim::Known(kernel[1] * group_of(n.node)?)];
        for i in 0..x.rank() - 2 {
            let size = x.shape[2 + i].known().ok_or("the spatial size of its input is not known; give --input-shape")?;
            let full = win.strides[i] * (size - 1) + win.extent(i);
            let full = full as i64 + extra.get(i).copied().unwrap_or(0) - (win.pads_begin[i] + win.pads_end[i]) as i64;
            shape.push(Dim::Known(usize::try_from(full).map_err(|_| "its pads are larger than its output".to_string())?));
        }
        Ok(vec![TensorType { dtype, shape }])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let (x, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let geometry = Geometry::new(&g.node, b.ty(dy), b.ty(x), b.ty(w))?;
        let dx = if g.needs(0) { Some(b.op("Conv", &[dy, w], geometry.attrs())?) } else { None };
        let dw = if g.needs(1) { Some(geometry.weight_grad(b, dy, x)?) } else { None };
        let db = if g.needs(2) { Some(bias_grad(b, dy)?) } else { None };
        Ok(vec![dx, dw, db])
    }

    fn per_sample(&self, b: &mut Builder, s: &Samples) -> Rule<Vec<Option<PerSample>>> {
        let g = &s.grad;
        let (x, w, dy) = (g.input(0)?, g.input(1)?, g.dy()?);
        let geometry = Geometry::new(&g.node, b.ty(dy), b.ty(x), b.ty(w))?;
        let dw = if g.needs(1) {
            // The roles are exchanged: the cotangent is the large side, of which every sample has its own.
            let x = s.repeated(b, x)?;
            Some(geometry.sample_grad(b, dy, x, s.count(), 1)?)
        } else {
            None
        };
        let db = if g.needs(2) { Some(bias_sample_grad(b, dy)?) } else { None };
        Ok(vec![None, dw, db])
    }

    fn slots(&self, _: &View) -> Vec<Slot> {
        vec![Slot::Data, Slot::Kernel { axis: 1 }, Slot::Bias]
    }

    fn notes(&self) -> &'static str {
        "explicit pads and output_padding"
    }
}
