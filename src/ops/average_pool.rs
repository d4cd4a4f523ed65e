//! The mean of each sliding window.

use super::blocks::phases::Phases;
use super::blocks::strided::spread_out;
use super::max_pool::{kernel, pooled, source_kernel};
use crate::ir::{Attr, Attrs, Dim, Tensor, TensorType, ValueId};
use crate::operator::checked::{image, signed, spatial_sizes, times, whole};
use crate::operator::window::{Window, WindowAxis};
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Operator, Rule, View, table_of};

/// `(dy) → dx`.
pub const GRAD: Function = Function::new("AveragePoolGrad");

/// Padding counts as zeros with `count_include_pad`, else not at all. A last window that
/// reaches over the end (`ceil_mode`) is divided by what it covers of the padded image, as in PyTorch.
pub struct AveragePool;

impl AveragePool {
    /// `taps / n` for each window, where `n` is what its sum is divided by; `None` where that is 1 everywhere.
    fn scale(window: &Window, input: &[usize], include_pad: bool) -> Rule<Option<(Vec<usize>, Vec<f64>)>> {
        if include_pad {
            return Ok(None);
        }
        let mut shape = vec![1, 1];
        let mut scale = vec![1.0];
        for (i, (axis, &size)) in window.axes().zip(input).enumerate() {
            let count = window.windows(i, size)?;
            table_of(&[scale.len(), count])?;
            let share = |w: usize| {
                let start = whole(w) * axis.stride;
                let (first, last) = (start.size()?.max(axis.begin), (start + axis.kernel).size()?.min((whole(size) + axis.begin).size()?));
                Ok(axis.kernel as f64 / (whole(last) - first).size()? as f64)
            };
            let shares: Vec<f64> = (0..count).map(share).collect::<Rule<_>>()?;
            shape.push(count);
            scale = scale.iter().flat_map(|a| shares.iter().map(move |s| a * s)).collect();
        }
        Ok(scale.iter().any(|&s| s != 1.0).then_some((shape, scale)))
    }
}

/// Each window's element at all places the window covers, added up, divided by the number of taps.
fn spread_windows(b: &mut Builder, window: &Window, input: &[usize], g: ValueId) -> Rule<ValueId> {
    let (batch, channels, spatial) = image(b.ty(g))?;
    let counts: Vec<usize> = spatial.iter().map(|d| d.known().ok_or("the number of windows is not known")).collect::<Result<_, _>>()?;
    // A single window has no neighbour to overlap with.
    let stride = |(axis, &count): (WindowAxis, &usize)| if count == 1 { axis.stride.max(axis.kernel) } else { axis.stride };
    let strides: Vec<usize> = window.axes().zip(&counts).map(stride).collect();
    if strides.iter().zip(&window.kernel).all(|(stride, kernel)| stride >= kernel) {
        // Windows side by side: every element repeated.
        let scale = b.number(1.0 / times(&window.kernel)? as f64, g);
        let share = b.mul(g, scale)?;
        let (mut apart, mut copies, mut rests, mut joined) = (vec![batch, channels], vec![1, 1], vec![0, 0], vec![batch, channels]);
        let (mut begin, mut end) = (vec![0, 0], vec![0, 0]);
        for (((axis, &windows), &stride), &size) in window.axes().zip(&counts).zip(&strides).zip(input) {
            apart.extend([Dim::Known(windows), Dim::Known(1)]);
            copies.extend([1, axis.kernel as i64]);
            rests.extend([0, (whole(stride) - axis.kernel).int()?]);
            joined.push((whole(windows) * stride).dim()?);
            begin.push((-whole(axis.begin)).int()?);
            end.push((whole(size) + axis.begin - whole(windows) * stride).int()?);
        }
        let apart = b.reshape(share, &apart)?;
        let copies = b.ints(&copies);
        let repeated = b.op("Expand", &[apart, copies], Attrs::new())?;
        let repeated = b.pad(repeated, &vec![0; rests.len()], &rests, 0.0)?;
        let joined = b.reshape(repeated, &joined)?;
        return b.pad(joined, &begin, &end, 0.0);
    }
    // dx[p] = Σ_t ĝ[p + pad − t] with ĝ spread out by the strides: a mean over windows of the same size, stride 1.
    let paces: Vec<(usize, usize)> = (2..).zip(&window.strides).filter(|(_, s)| **s > 1).map(|(a, &s)| (a, s)).collect();
    let spread = spread_out(b, g, &paces)?;
    let (mut begin, mut end) = (vec![], vec![]);
    for ((axis, &windows), &size) in window.axes().zip(&counts).zip(input) {
        begin.push((whole(axis.kernel) - 1usize - axis.begin).int()?);
        end.push((whole(size) + axis.begin - whole(windows) * axis.stride).int()?);
    }
    let rank = input.len();
    let ones = vec![1; rank];
    let mut means = Window {
        kernel: window.kernel.clone(),
        strides: ones.clone(),
        dilations: ones,
        pads_begin: vec![0; rank],
        pads_end: vec![0; rank],
        ceil: false,
    };
    // Padding within the operator where that is allowed, which is less work than a copy.
    let inside = |v: &[i64]| v.iter().zip(&window.kernel).all(|(&p, &k)| (0..k as i64).contains(&p));
    let padded = if inside(&begin) && inside(&end) {
        means.pads_begin = begin.iter().map(|&p| p as usize).collect();
        means.pads_end = end.iter().map(|&p| p as usize).collect();
        spread
    } else {
        b.pad(spread, &[vec![0, 0], begin].concat(), &[vec![0, 0], end].concat(), 0.0)?
    };
    b.op("AveragePool", &[padded], average_attrs(&means, true))
}

/// The sum of each window whose elements lie apart, and how many there are of each along every axis but the first two: the windows' taps cut out one
/// after the other, since opset 17 has no dilations here. Padding is zeros.
pub(super) fn dilated_sum(b: &mut Builder, x: ValueId, window: &Window) -> Rule<(ValueId, Vec<usize>)> {
    let sizes = spatial_sizes(b.ty(x))?;
    let counts = sizes.iter().enumerate().map(|(i, &size)| window.windows(i, size)).collect::<Rule<Vec<_>>>()?;
    let (mut begin, mut end) = (vec![0, 0], vec![0, 0]);
    // Of each axis how far the last window's first element lies behind the first window's.
    let mut spans = vec![];
    for ((axis, &size), &count) in window.axes().zip(&sizes).zip(&counts) {
        let span = (whole(count) - 1usize) * axis.stride;
        begin.push(axis.begin as i64);
        end.push((span + axis.extent() - size - axis.begin).int()?.max(0));
        spans.push(span);
    }
    let padded = b.pad(x, &begin, &end, 0.0)?;
    let (axes, strides): (Vec<usize>, Vec<i64>) = ((2..).take(sizes.len()).collect(), signed(&window.strides));
    let count = window.kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k)).filter(|&n| n <= MOST_TAPS);
    if count.is_none() {
        return Err(format!(
            "its windows of {:?} have more than {MOST_TAPS} elements that lie apart, which is not supported",
            window.kernel
        ));
    }
    let mut taps: Vec<Vec<i64>> = vec![vec![]];
    for axis in window.axes() {
        let places = (0..axis.kernel).map(|k| (whole(k) * axis.dilation).int()).collect::<Rule<Vec<_>>>()?;
        taps = taps.iter().flat_map(|t| places.iter().map(|&place| [t.as_slice(), &[place]].concat())).collect();
    }
    let mut parts = vec![];
    for tap in taps {
        let ends = tap.iter().zip(&spans).map(|(&first, &span)| (span + first + 1usize).int()).collect::<Rule<Vec<_>>>()?;
        parts.push(b.slice(padded, &axes, &tap, &ends, &strides)?);
    }
    Ok((b.total(&parts)?, counts))
}

/// Fails where the padding of dilated windows has to be found out: runtimes find another one than ONNX says.
pub(super) fn explicit_pads(cx: &mut Import) -> Rule<()> {
    match cx.string("auto_pad", "NOTSET")?.as_str() {
        "SAME_UPPER" | "SAME_LOWER" => Err("with dilations, runtimes disagree about `auto_pad`; export it with explicit pads".into()),
        _ => Ok(()),
    }
}

/// Elements of a window that are cut out one after the other.
const MOST_TAPS: usize = 1024;

/// The mean of each such window over what of it counts: the image, or the padded image with `include_pad`.
fn dilated_mean(b: &mut Builder, x: ValueId, window: &Window, include_pad: bool) -> Rule<ValueId> {
    let (sum, counts) = dilated_sum(b, x, window)?;
    let sizes = spatial_sizes(b.ty(x))?;
    let mut shape = vec![1, 1];
    let mut taps = vec![1.0];
    for ((axis, &count), &size) in window.axes().zip(&counts).zip(&sizes) {
        let behind = whole(axis.begin) + size;
        let inside = if include_pad { 0..(behind + axis.end).int()? } else { axis.begin as i64..behind.int()? };
        table_of(&[taps.len(), count])?;
        let covered = |w: usize| {
            let places = (0..axis.kernel).map(|k| (whole(w) * axis.stride + whole(k) * axis.dilation).int());
            Ok(places.collect::<Rule<Vec<_>>>()?.iter().filter(|place| inside.contains(place)).count() as f64)
        };
        let covered = (0..count).map(covered).collect::<Rule<Vec<f64>>>()?;
        taps = taps.iter().flat_map(|t| covered.iter().map(move |c| t * c)).collect();
        shape.push(count);
    }
    if taps.contains(&0.0) {
        return Err("one of its windows covers nothing but padding, of which there is no mean".into());
    }
    let shares: Vec<f64> = taps.iter().map(|&t| 1.0 / t).collect();
    let shares = b.constant(Tensor::from_floats(b.dtype(sum), &shape, &shares));
    b.mul(sum, shares)
}

pub(super) fn average_attrs(window: &Window, include_pad: bool) -> Attrs {
    let mut attrs = Phases::attrs(window);
    // Opset 17 has no dilations here.
    attrs.remove("dilations");
    attrs.insert("count_include_pad".into(), Attr::Int(include_pad as i64));
    attrs
}

impl Operator for AveragePool {
    fn op_type(&self) -> &'static str {
        "AveragePool"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, keeps_sign: true, half: Half::Rounded, ..Facts::NONE }
    }

    /// Afterwards `ceil_mode` is 0: runtimes disagree about the divisor of the windows that it adds.
    fn import(&self, cx: &mut Import) -> Rule<()> {
        let kernel = source_kernel(cx)?;
        let spatial = cx.ty(0)?.shape.get(2..).unwrap_or_default().to_vec();
        let mut include_pad = cx.int("count_include_pad", 0)? != 0;
        let mut window = Window::import(cx, kernel, &spatial)?;
        window.ceil = cx.source.int("ceil_mode").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
        if window.dilations.iter().any(|&d| d != 1) {
            explicit_pads(cx)?;
            let x = cx.input(0)?;
            let value = dilated_mean(&mut cx.builder(), x, &window, include_pad)?;
            cx.becomes(value);
            return Ok(());
        }
        let (begin, end) = (window.pads_begin.clone(), window.pads_end.clone());
        window.close(&spatial)?;
        if include_pad && window.pads_end != end {
            // Zeros count where the source pads, and nothing where the windows reach beyond.
            let ends = |v: &[usize]| [0, 0].into_iter().chain(v.iter().map(|&p| p as i64)).collect::<Vec<_>>();
            let source = cx.input(0)?;
            let padded = cx.builder().pad(source, &ends(&begin), &ends(&end), 0.0)?;
            cx.inputs = vec![Some(padded)];
            window.pads_begin.fill(0);
            for (p, e) in window.pads_end.iter_mut().zip(&end) {
                *p = p.saturating_sub(*e);
            }
            include_pad = false;
        }
        if window.ceil {
            return Err("its windows reach too far over the end".into());
        }
        cx.attrs.remove("dilations");
        cx.attrs.extend(average_attrs(&window, include_pad));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![pooled(n)?])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let x = g.input(0)?;
        let window = Window::of(&g.node, kernel(&g.node));
        let input = spatial_sizes(b.ty(x))?;
        let include_pad = g.node.int("count_include_pad", 0) != 0;
        let mut attributes = average_attrs(&window, include_pad);
        attributes.insert("input_shape".into(), Attr::Ints(signed(&input)));
        let [dx] = b.call(&GRAD, [g.dy()?], attributes, |b, [mut dy]| {
            if let Some((shape, values)) = AveragePool::scale(&window, &input, include_pad)? {
                let scale = b.constant(Tensor::from_floats(b.dtype(dy), &shape, &values));
                dy = b.mul(dy, scale)?;
            }
            Ok([spread_windows(b, &window, &input, dy)?])
        })?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "1-D to 3-D; ceil_mode, auto_pad, count_include_pad; with dilations imported as slices and their sum"
    }
}
