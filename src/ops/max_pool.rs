//! The largest element of each sliding window.

use super::blocks::phases::Phases;
use super::blocks::step::reaches;
use crate::ir::{Attrs, Node, Tensor, TensorType, ValueId};
use crate::operator::checked::{image, spatial_sizes, times};
use crate::operator::window::Window;
use crate::operator::{Builder, Facts, Function, Grad, Half, Import, Operator, Rule, View, floating};
use std::collections::BTreeMap;

/// `(x, y, dy) → dx`.
pub const GRAD: Function = Function::new("MaxPoolGrad");

/// `dy` goes to the largest element of each window; the first in row-major order takes a tie, as in PyTorch. Padding counts as
/// −∞ and takes nothing. In a window of nothing but −∞ one of them takes it.
pub struct MaxPool;

/// The kernel of a canonical pooling.
pub(super) fn kernel(node: &Node) -> Vec<usize> {
    node.ints("kernel_shape").iter().map(|&k| k.max(1) as usize).collect()
}

/// The source's kernel.
pub(super) fn source_kernel(cx: &mut Import) -> Rule<Vec<usize>> {
    let kernel = cx.ints("kernel_shape")?.ok_or("it does not say how large its windows are (`kernel_shape`)")?;
    kernel.iter().map(|&k| usize::try_from(k).map_err(|_| format!("`kernel_shape` holds {k}, which is out of range"))).collect()
}

/// The type of a pooling's output.
pub(super) fn pooled(n: &View) -> Rule<TensorType> {
    let x = n.ty(0)?;
    let kernel = kernel(n.node);
    let (batch, channels, spatial) = image(x)?;
    if spatial.is_empty() || spatial.len() != kernel.len() {
        return Err(format!("windows over {} axes do not fit images {x}", kernel.len()));
    }
    let window = Window::of(n.node, kernel);
    if let Some((a, _)) = (2usize..).zip(window.axes()).find(|(_, axis)| axis.begin.max(axis.end) >= axis.extent()) {
        return Err(format!("its windows fit into the padding of axis {a}; pads must be smaller than the windows"));
    }
    let shape = [vec![batch, channels], window.output(spatial)?].concat();
    Ok(TensorType { dtype: floating(x)?, shape })
}

/// Less than any element that can win a window, for what lies outside; infinity would give no number in a difference.
const LOWEST: f64 = f32::MIN as f64;

/// The gradient of windows over one image. `x`, `y` and `dy` as in [`MaxPool`].
fn gradient(b: &mut Builder, window: &Window, x: ValueId, y: ValueId, dy: ValueId) -> Rule<ValueId> {
    let phases = Phases::new(window, &spatial_sizes(b.ty(x))?)?;
    let taps = phases.taps()?;
    let elements = phases.split(b, x, &taps, LOWEST)?;
    // Of −∞ less −∞ nothing could be said.
    let lowest = b.constant(Tensor::from_floats(b.dtype(y), &[], &[LOWEST]));
    let y = b.op("Clip", &[y, lowest], Attrs::new())?;
    let mut parts: BTreeMap<Vec<usize>, Vec<ValueId>> = Default::default();
    // What the windows have left: the first tap that reaches the largest takes it, the last one whatever no other took.
    let mut left = dy;
    let mut open = taps.iter().peekable();
    while let Some(tap) = open.next() {
        let mut part = left;
        if open.peek().is_some() {
            let element = *elements.get(&tap.phase).ok_or("a window meets nothing")?;
            let element = phases.to_windows(b, element, &tap.shift, LOWEST)?;
            [part] = b.formula([element, y, left], |[element, y, left]| [reaches(element, y) * left])?;
            left = b.sub(left, part)?;
        }
        let part = phases.to_phase(b, part, &tap.shift)?;
        parts.entry(tap.phase.clone()).or_default().push(part);
    }
    let mut sums = BTreeMap::new();
    for (phase, list) in parts {
        sums.insert(phase, b.total(&list)?);
    }
    phases.join(b, &sums)
}

/// The window along axis `i` alone.
fn along(window: &Window, i: usize) -> Window {
    let only = |list: &[usize], other: usize| list.iter().enumerate().map(|(j, &own)| if i == j { own } else { other }).collect();
    Window {
        kernel: only(&window.kernel, 1),
        strides: only(&window.strides, 1),
        dilations: only(&window.dilations, 1),
        pads_begin: only(&window.pads_begin, 0),
        pads_end: only(&window.pads_end, 0),
        ceil: window.ceil,
    }
}

/// One axis after the other: a window is the largest of its rows' largest, and its first largest element in
/// row-major order is in the first of the rows that has it.
fn gradient_by_axis(b: &mut Builder, window: &Window, x: ValueId, y: ValueId, dy: ValueId) -> Rule<ValueId> {
    // Along each axis but the first, the last one first: the window, and what is pooled. The result is what the axis before pools.
    let mut steps = vec![];
    let mut pooled = x;
    for i in (1..window.kernel.len()).rev() {
        let own = along(window, i);
        let next = b.op("MaxPool", &[pooled], Phases::attrs(&own))?;
        steps.push((own, pooled, next));
        pooled = next;
    }
    steps.push((along(window, 0), pooled, y));
    steps.into_iter().rev().try_fold(dy, |dx, (own, pooled, result)| gradient(b, &own, pooled, result, dx))
}

impl Operator for MaxPool {
    fn op_type(&self) -> &'static str {
        "MaxPool"
    }

    fn facts(&self) -> Facts {
        Facts { by_image: true, keeps_sign: true, half: Half::Exact, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        if cx.outputs.get(1).is_some_and(|o| !o.is_empty()) {
            return Err("its second output, the indices, is not supported".into());
        }
        let kernel = source_kernel(cx)?;
        let spatial = cx.ty(0)?.shape.get(2..).unwrap_or_default().to_vec();
        let mut window = Window::import(cx, kernel, &spatial)?;
        window.ceil = cx.source.int("ceil_mode").map_err(|e| e.to_string())?.unwrap_or(0) != 0;
        // The order of indices, which are not used.
        cx.source.int("storage_order").map_err(|e| e.to_string())?;
        window.close(&spatial)?;
        cx.attrs.extend(Phases::attrs(&window));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        Ok(vec![pooled(n)?])
    }

    fn gradient(&self, b: &mut Builder, g: &Grad) -> Rule<Vec<Option<ValueId>>> {
        let window = Window::of(&g.node, kernel(&g.node));
        let inputs = [g.input(0)?, g.output(0), g.dy()?];
        let (taps, steps) = (times(&window.kernel)?, window.kernel.iter().fold(0, |all: usize, &size| all.saturating_add(size)));
        let [dx] = b.call(&GRAD, inputs, Phases::attrs(&window), |b, [x, y, dy]| {
            let rule = if taps > steps { gradient_by_axis } else { gradient };
            Ok([rule(b, &window, x, y, dy)?])
        })?;
        Ok(vec![Some(dx)])
    }

    fn notes(&self) -> &'static str {
        "1-D to 3-D; dilations, ceil_mode, auto_pad; the first of equal largest elements takes the gradient; no indices output"
    }
}
