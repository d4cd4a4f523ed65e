//! The mean of each sliding window.

use super::blocks::phases::Phases;
use super::blocks::strided::spread_out;
use super::max_pool::{kernel, pooled, source_kernel};
use crate::ir::{Attr, Attrs, Dim, Tensor, TensorType, ValueId};
use crate::operator::window::Window;
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Operator, Rule, View, fixed, table_of};

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
        for (i, &size) in input.iter().enumerate() {
            let (k, begin) = (window.kernel[i], window.pads_begin[i]);
            let count = table_of(&[scale.len(), window.windows(i, size)?]).map(|all| all / scale.len())?;
            let share = |w: usize| {
                let start = w * window.strides[i];
                let covered = (start + k).min(size + begin) - start.max(begin);
                k as f64 / covered as f64
            };
            let shares: Vec<f64> = (0..count).map(share).collect();
            shape.push(count);
            scale = scale.iter().flat_map(|a| shares.iter().map(move |s| a * s)).collect();
        }
        Ok(scale.iter().any(|&s| s != 1.0).then_some((shape, scale)))
    }
}

/// Each window's element at all places the window covers, added up, divided by the number of taps.
fn spread_windows(b: &mut Builder, window: &Window, input: &[usize], g: ValueId) -> Rule<ValueId> {
    let rank = input.len();
    let shape = b.shape(g).to_vec();
    let count = |i: usize| shape[2 + i].known().ok_or("the number of windows is not known");
    // A single window has no neighbour to overlap with.
    let mut strides = vec![];
    for i in 0..rank {
        strides.push(if count(i)? == 1 { window.strides[i].max(window.kernel[i]) } else { window.strides[i] });
    }
    if (0..rank).all(|i| strides[i] >= window.kernel[i]) {
        // Windows side by side: every element repeated.
        let taps: usize = window.kernel.iter().product();
        let scale = b.number(1.0 / taps as f64, g);
        let share = b.mul(g, scale)?;
        let (mut apart, mut copies, mut end, mut whole) = (shape[..2].to_vec(), vec![1, 1], vec![0, 0], shape[..2].to_vec());
        for (i, &stride) in strides.iter().enumerate() {
            let windows = count(i)?;
            apart.extend([Dim::Known(windows), Dim::Known(1)]);
            copies.extend([1, window.kernel[i] as i64]);
            end.extend([0, (stride - window.kernel[i]) as i64]);
            whole.push(Dim::Known(windows * stride));
        }
        let apart = b.reshape(share, &apart)?;
        let copies = b.ints(&copies);
        let repeated = b.op("Expand", &[apart, copies], Attrs::new())?;
        let repeated = b.pad(repeated, &vec![0; end.len()], &end, 0.0)?;
        let joined = b.reshape(repeated, &whole)?;
        let (mut begin, mut end) = (vec![0, 0], vec![0, 0]);
        for i in 0..rank {
            let pad = window.pads_begin[i] as i64;
            begin.push(-pad);
            end.push(input[i] as i64 + pad - (count(i)? * strides[i]) as i64);
        }
        return b.pad(joined, &begin, &end, 0.0);
    }
    // dx[p] = Σ_t ĝ[p + pad − t] with ĝ spread out by the strides: a mean over windows of the same size, stride 1.
    let paces: Vec<(usize, usize)> = (0..rank).filter(|&i| window.strides[i] > 1).map(|i| (2 + i, window.strides[i])).collect();
    let spread = spread_out(b, g, &paces)?;
    let (mut begin, mut end) = (vec![0, 0], vec![0, 0]);
    for (i, &size) in input.iter().enumerate() {
        let (pad, reach) = (window.pads_begin[i] as i64, window.kernel[i] as i64 - 1);
        begin.push(reach - pad);
        end.push(size as i64 + pad - (count(i)? * window.strides[i]) as i64);
    }
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
    let inside = |v: &[i64]| v[2..].iter().zip(&window.kernel).all(|(&p, &k)| (0..k as i64).contains(&p));
    let padded = if inside(&begin) && inside(&end) {
        means.pads_begin = begin[2..].iter().map(|&p| p as usize).collect();
        means.pads_end = end[2..].iter().map(|&p| p as usize).collect();
        spread
    } else {
        b.pad(spread, &begin, &end, 0.0)?
    };
    b.op("AveragePool", &[padded], average_attrs(&means, true))
}

/// The sum of each window whose elements lie apart, and how many there are of each along every axis but the first two: the windows' taps cut out one
/// after the other, since opset 17 has no dilations here. Padding is zeros.
pub(super) fn dilated_sum(b: &mut Builder, x: ValueId, window: &Window) -> Rule<(ValueId, Vec<usize>)> {
    let sizes = fixed(&TensorType { dtype: b.dtype(x), shape: b.shape(x).get(2..).unwrap_or_default().to_vec() })?;
    let counts = (0..sizes.len()).map(|i| window.windows(i, sizes[i])).collect::<Rule<Vec<_>>>()?;
    let (mut begin, mut end) = (vec![0, 0], vec![0, 0]);
    for (i, &size) in sizes.iter().enumerate() {
        let covered = (counts[i] - 1) * window.strides[i] + window.extent(i);
        begin.push(window.pads_begin[i] as i64);
        end.push(covered.saturating_sub(size + window.pads_begin[i]) as i64);
    }
    let padded = b.pad(x, &begin, &end, 0.0)?;
    let (axes, strides): (Vec<usize>, Vec<i64>) = ((2..2 + sizes.len()).collect(), window.strides.iter().map(|&s| s as i64).collect());
    let mut taps = vec![vec![]];
    for i in 0..sizes.len() {
        taps = taps
            .iter()
            .flat_map(|t: &Vec<i64>| (0..window.kernel[i]).map(|k| [&t[..], &[(k * window.dilations[i]) as i64]].concat()))
            .collect();
    }
    if taps.len() > MOST_TAPS {
        return Err(format!("its windows have {} elements that lie apart; at most {MOST_TAPS} are supported", taps.len()));
    }
    let mut parts = vec![];
    for tap in taps {
        let ends: Vec<i64> = (0..sizes.len()).map(|i| tap[i] + (counts[i] as i64 - 1) * strides[i] + 1).collect();
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
    let sizes = fixed(&TensorType { dtype: b.dtype(x), shape: b.shape(x)[2..].to_vec() })?;
    let mut shape = vec![1, 1];
    let mut taps = vec![1usize];
    for (i, &count) in counts.iter().enumerate() {
        let (begin, size) = (window.pads_begin[i], sizes[i]);
        let inside = if include_pad { 0..begin + size + window.pads_end[i] } else { begin..begin + size };
        table_of(&[taps.len(), count])?;
        let covered =
            |w: usize| (0..window.kernel[i]).filter(|k| inside.contains(&(w * window.strides[i] + k * window.dilations[i]))).count();
        taps = taps.iter().flat_map(|t| (0..count).map(move |w| (t, w))).map(|(t, w)| t * covered(w)).collect();
        shape.push(count);
    }
    if taps.contains(&0) {
        return Err("one of its windows covers nothing but padding, of which there is no mean".into());
    }
    let shares: Vec<f64> = taps.iter().map(|&t| 1.0 / t as f64).collect();
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
        Facts { by_image: true, half: Half::Rounded, ..Facts::NONE }
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
                *p -= e;
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
        let input = fixed(&TensorType { dtype: b.dtype(x), shape: b.shape(x)[2..].to_vec() })?;
        let include_pad = g.node.int("count_include_pad", 0) != 0;
        let mut attributes = average_attrs(&window, include_pad);
        attributes.insert("input_shape".into(), Attr::Ints(input.iter().map(|&n| n as i64).collect()));
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
