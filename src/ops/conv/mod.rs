//! Convolution.
//!
//! The forms of the gradients are chosen by shape; what each costs on ONNX Runtime's CPU provider is in docs/performance.md.

mod geometry;
mod input_grad;
mod sample_grad;
mod stacked;
mod transpose;
mod weight_grad;

pub use self::input_grad::INPUT_GRAD;
pub use self::sample_grad::SAMPLE_GRAD;
pub use self::transpose::ConvTranspose;
pub use self::weight_grad::WEIGHT_GRAD;

use self::geometry::Geometry;
use crate::ir::{Dim, Node, TensorType, ValueId};
use crate::operator::checked::image;
use crate::operator::window::Window;
use crate::operator::{
    Builder, Facts, Grad, Half, Import, Meaning, Operator, OutputChannels, ParameterKind, PerSample, Rule, Samples, View, fixed, floating,
};

/// Output maps at least this high and wide take the forms for large maps.
const LARGE_MAP: usize = 28;

/// Groups, dilations, strides, asymmetric pads and auto_pad, in one to three dimensions.
pub struct Conv;

impl Operator for Conv {
    fn op_type(&self) -> &'static str {
        "Conv"
    }

    fn facts(&self) -> Facts {
        Facts { meaning: Meaning::Convolution, by_image: true, half: Half::Product, ..Facts::NONE }
    }

    fn import(&self, cx: &mut Import) -> Rule<()> {
        cx.int("group", 1)?;
        import_window(cx).map(drop)
    }

    fn infer(&self, n: &View) -> Rule<Vec<TensorType>> {
        let (x, w) = (n.ty(0)?, n.ty(1)?);
        let dtype = floating(x)?;
        if x.rank() < 3 || w.rank() != x.rank() {
            return Err(format!("an input {x} and a kernel {w} do not fit together"));
        }
        let (features, per_group, kernel) = kernel_sizes(w)?;
        let (batch, channels, spatial) = image(x)?;
        let group = group_of(n.node)?;
        if per_group.checked_mul(group).map(Dim::Known) != Some(channels) || !features.is_multiple_of(group) {
            return Err(format!("the kernel {w} with {group} groups does not fit the input {x}"));
        }
        fits_bias(n, features)?;
        let window = Window::of(n.node, kernel);
        let shape = [batch, features.into()].into_iter().chain(window.output(spatial)?).collect();
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

    fn alternative(&self, b: &mut Builder, n: &View, inputs: &[ValueId]) -> Rule<Option<Vec<ValueId>>> {
        let (&[x, w], bias) = (inputs.first_chunk().ok_or("it has no kernel")?, inputs.get(2));
        // Runtimes prepare constant kernels ahead.
        if n.input(1).is_some_and(|w| n.graph.value(w).constant.is_some()) {
            return Ok(None);
        }
        let geometry = Geometry::new(n.node, b.ty(x), n.graph.ty(n.node.output().ok_or("it has no output")?), b.ty(w))?;
        Ok(geometry.stacked(b, x, w, bias.copied())?.map(|y| vec![y]))
    }

    fn parameters(&self, _: &View) -> Vec<Option<ParameterKind>> {
        vec![None, Some(ParameterKind::Kernel { axis: 0 }), Some(ParameterKind::Bias)]
    }

    fn output_channels(&self, _: &View) -> Option<OutputChannels> {
        Some(OutputChannels { axis: 1, blocks: 1 })
    }

    fn notes(&self) -> &'static str {
        "1-D to 3-D; groups, dilations, strides, asymmetric pads, auto_pad; spatial sizes must be known"
    }
}

/// Reads kernel_shape, strides, dilations, pads and auto_pad of a (transposed) convolution.
fn import_window(cx: &mut Import) -> Rule<Window> {
    let spatial = cx.ty(0)?.shape.get(2..).unwrap_or_default().to_vec();
    match &*fixed(cx.ty(1)?)? {
        [_, _, kernel @ ..] if !kernel.is_empty() => Window::import(cx, kernel.to_vec(), &spatial),
        _ => Err("its kernel has no spatial dimension".into()),
    }
}

/// The first two sizes of a kernel, and those of its windows.
fn kernel_sizes(w: &TensorType) -> Rule<(usize, usize, Vec<usize>)> {
    match &*fixed(w)? {
        [first, second, window @ ..] => Ok((*first, *second, window.to_vec())),
        _ => Err(format!("{w} is no kernel")),
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

/// Fails for a bias (input 2) that has not one element for each of so many channels.
fn fits_bias(n: &View, channels: usize) -> Rule<()> {
    match n.input(2).map(|b| n.graph.ty(b)) {
        Some(bias) if bias.shape != [Dim::Known(channels)] => Err(format!("the bias {bias} does not fit {channels} output channels")),
        _ => Ok(()),
    }
}

fn group_of(node: &Node) -> Rule<usize> {
    usize::try_from(node.int("group", 1)).ok().filter(|&g| g > 0).ok_or_else(|| "`group` must be at least 1".into())
}
