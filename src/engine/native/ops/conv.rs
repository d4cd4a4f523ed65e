//! Convolution, with what follows it: bias, an image to add, a rectifier.

use super::super::compute::{ConvPlan, Cores, Epilogue};
use super::super::graph::Editor;
use super::window::{self, Window, is_plain};
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use crate::onnx::pb::NodeProto;
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `(x, w, bias?, addend?) → y`; attributes of `Conv`, `relu`, and `output` with the image's height and width.
pub const CONV: Native = Native {
    name: "Conv",
    replaces: Some(Replaces { function: false, op_type: "Conv", covers, shape: Some(shape) }),
    inputs: &[Port::Image, Port::Plain, Port::OptionalPlain, Port::OptionalImage],
    outputs: &[Port::Image],
    create: |attributes| {
        Ok(Box::new(ConvKernel { window: Window::read(attributes)?, relu: is_set(attributes, "relu"), pads: pads(attributes), plan: None }))
    },
};

/// Convolutions of images with known weights' shapes.
pub fn covers(editor: &Editor, node: &NodeProto) -> bool {
    let known = node.input.get(1).is_some_and(|w| editor.shape(w).is_some_and(|s| s.len() == 4) && editor.is_float(w));
    known && is_plain(editor, node)
}

fn shape(editor: &Editor, node: &NodeProto) -> Option<Vec<i64>> {
    let features = *editor.shape(&node.input[1])?.first()?;
    window::output(editor, node, Some(features))
}

pub fn is_set(attributes: &KernelContext, name: &str) -> bool {
    attributes.get::<i64>(name).unwrap_or(0) != 0
}

/// All four pads.
pub fn pads(attributes: &KernelContext) -> [usize; 4] {
    let list = attributes.get::<Vec<i64>>("pads").unwrap_or_default();
    std::array::from_fn(|i| list.get(i).map_or(0, |&p| p.max(0) as usize))
}

struct ConvKernel {
    window: Window,
    relu: bool,
    pads: [usize; 4],
    plan: Option<ConvPlan>,
}

/// The kept plan where its shape is still the same, otherwise a new one.
pub fn planned(kept: &mut Option<ConvPlan>, conv: super::super::compute::ConvGeometry) -> Result<&ConvPlan> {
    if kept.as_ref().is_none_or(|plan| *plan.conv() != conv) {
        if conv.images.checked_mul(conv.input_pixels().max(conv.output_pixels())).is_none_or(|n| n >= u32::MAX as usize) {
            return Err(Error::new("the images are too large for the native kernels; run with --kernels standard"));
        }
        *kept = Some(ConvPlan::new(conv));
    }
    kept.as_ref().ok_or_else(|| Error::new("no plan"))
}

impl Compute for ConvKernel {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, w, bias, addend] = inputs.all();
        let [y] = outputs.all();
        let (x, w, bias, addend) = (x.get()?, w.get()?, bias.optional()?, addend.optional()?);
        let image = x.image()?;
        let output = self.window.output(image, self.pads, w.shape[0])?;
        let plan = planned(&mut self.plan, self.window.conv(image, output))?;
        let epilogue = Epilogue { bias: bias.map(|b| b.data), addend: addend.map(|a| a.data), relu: self.relu, ..Epilogue::default() };
        plan.forward(cores, x.data, w.data, &epilogue, y.make(&output)?);
        Ok(())
    }
}
