//! The transpose of a convolution.

use super::geometry::Geometry;
use super::{bias_grad, bias_sample_grad, fits_bias, group_of, import_window, kernel_sizes};
use crate::ir::{Attr, Dim, TensorType, ValueId};
use crate::operator::checked::{image, whole};
use crate::operator::window::Window;
use crate::operator::{
    Builder, Facts, Grad, Half, Import, Meaning, Operator, OutputChannels, ParameterKind, PerSample, Rule, Samples, View, floating,
};

/// Sizes of the output that are asked for, and auto_pad, become explicit pads.
pub struct ConvTranspose;

/// Pads that give the sizes which were asked for, or else the input's times the strides (ONNX's ConvTranspose): all begins, then all ends. Of an odd number the
/// larger part is at the end with `upper`, and at the begin without.
fn pads_for(window: &Window, spatial: &[Dim], extra: &[i64], asked: Option<&[i64]>, upper: bool) -> Rule<Vec<i64>> {
    // Some writers give batch and channels as well.
    let asked = asked.map(|sizes| sizes.get(sizes.len().saturating_sub(spatial.len())..).unwrap_or_default());
    if asked.is_some_and(|sizes| sizes.len() != spatial.len()) || extra.len() != spatial.len() {
        return Err(format!("`output_shape` or `output_padding` has not one size for each of {} spatial axes", spatial.len()));
    }
    let mut pads = (vec![], vec![]);
    for (i, (axis, (size, &extra))) in window.axes().zip(spatial.iter().zip(extra)).enumerate() {
        let size = size.known().ok_or("the spatial size of its input is not known; give the sizes of the input")?;
        let before = size.checked_sub(1).ok_or("its input has no elements")?;
        let full = (whole(before) * axis.stride + axis.extent() + extra).int()?;
        let wanted = match asked.and_then(|sizes| sizes.get(i)) {
            Some(&wanted) => wanted,
            None => (whole(size) * axis.stride).int()?,
        };
        let total = full.checked_sub(wanted).filter(|total| *total >= 0 && wanted > 0).ok_or_else(|| {
            format!(
                "axis {} of its output is to have {wanted} elements, where its windows give {full}; export it with explicit pads",
                i.saturating_add(2)
            )
        })?;
        let (half, rest) = (total / 2, total.saturating_sub(total / 2));
        pads.0.push(if upper { half } else { rest });
        pads.1.push(if upper { rest } else { half });
    }
    Ok([pads.0, pads.1].concat())
}

impl Operator for ConvTranspose {
    fn op_type(&self) -> &'static str {
        "ConvTranspose"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::TransposedConvolution, by_image: true, half: Half::Product, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("group", 1)?;
        let padding = cx.ints("output_padding")?;
        let (auto_pad, asked) = (cx.string("auto_pad", "NOTSET")?, cx.ints("output_shape")?);
        let window = import_window(cx)?;
        let spatial = image(cx.ty(0)?)?.2.to_vec();
        let padding = padding.unwrap_or_else(|| vec![0; spatial.len()]);
        let same = auto_pad.starts_with("SAME");
        if same || asked.is_some() {
            let pads = pads_for(&window, &spatial, &padding, asked.as_deref(), auto_pad == "SAME_UPPER")?;
            cx.set("pads", Attr::Ints(pads));
        }
        cx.set("output_padding", Attr::Ints(padding));
        Ok(())
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, w) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(x)?;
        let (inward, per_group, kernel) = kernel_sizes(w)?;
        let (batch, channels, spatial) = image(x)?;
        if spatial.is_empty() || w.rank() != x.rank() || channels != Dim::Known(inward) {
            return Err(format!("an input {x} and a kernel {w} do not fit together"));
        }
        let win = Window::of(n.node, kernel);
        let none = vec![0; spatial.len()];
        let extra = match n.node.ints("output_padding") {
            [] => none.as_slice(),
            given => given,
        };
        let group = group_of(n.node)?;
        let channels = per_group.checked_mul(group).filter(|_| inward.is_multiple_of(group));
        let channels = channels.ok_or_else(|| format!("the kernel {w} does not fall into {group} groups"))?;
        if extra.len() != spatial.len() || extra.iter().any(|&e| e < 0) {
            return Err(format!("`output_padding` is {extra:?}, where {} numbers from 0 on are expected", spatial.len()));
        }
        if let Some((a, _)) =
            (2usize..).zip(extra.iter().zip(win.axes())).find(|(_, (e, axis))| **e >= axis.stride.max(axis.dilation) as i64)
        {
            return Err(format!("`output_padding` is {extra:?}, which is not below the stride or dilation of axis {a}"));
        }
        fits_bias(n, channels)?;
        let mut shape = vec![batch, Dim::Known(channels)];
        for ((axis, size), &extra) in win.axes().zip(spatial).zip(extra) {
            let size = size.known().ok_or("the spatial size of its input is not known; give the sizes of the input")?;
            let before = size.checked_sub(1).ok_or("its input has no elements")?;
            let full = (whole(before) * axis.stride + axis.extent() + extra - axis.begin - axis.end).int()?;
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

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Kernel { axis: 1 }), Some(ParameterKind::Bias)]
    }

    fn output_channels(&self, n: &View) -> Option<OutputChannels> {
        Some(OutputChannels { axis: 1, blocks: group_of(n.node).ok()? })
    }

    fn notes(&self) -> &'static str {
        "1-D to 3-D; groups, dilations, strides, pads, auto_pad, output_shape and output_padding; spatial sizes must be known"
    }
}
