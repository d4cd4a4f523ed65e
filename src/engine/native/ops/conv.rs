//! Convolution, with what follows it: bias, an image to add, a rectifier.

use super::super::compute::{ConvPlan, Cores, Element, Epilogue};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::field::Field;
use crate::ir::DType;
use crate::operator::View;
use crate::pass::{CEILING, Extras, Kernel, Port, RECTIFIED, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `(x, w, bias?, addend?) → y`; attributes of `Conv`, `relu`, `ceiling`, and `output` with the image's height and width.
pub const CONV: Native = Native::on_images::<ConvKernel>(Kernel {
    name: "Conv",
    replaces: Replaces::Operator("Conv"),
    covers,
    inputs: &[Port::BroughtImage, Port::Plain, Port::OptionalPlain, Port::OptionalImage],
    outputs: &[Port::Image],
    extras: Extras { rectifies: true, addend: Some(3), ..Extras::NONE },
});

/// Convolutions of images, with weights of the same type.
pub fn covers(n: &View) -> bool {
    n.ty(1).is_ok_and(|w| w.dtype == DType::F32) && is_plain(n.node)
}

/// Where the rectifier, or that of the mask, is cut off above.
pub fn ceiling(attributes: &KernelContext) -> Option<f32> {
    attributes.get::<f32>(CEILING)
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
    ceiling: Option<f32>,
    pads: [usize; 4],
    plan: Option<ConvPlan>,
}

/// The kept plan where its shape is still the same, otherwise a new one.
pub fn planned(kept: &mut Option<ConvPlan>, conv: super::super::compute::ConvGeometry) -> Result<&ConvPlan> {
    if kept.as_ref().is_none_or(|plan| *plan.conv() != conv) {
        if conv.images.checked_mul(conv.input_pixels().max(conv.output_pixels())).is_none_or(|n| n >= u32::MAX as usize) {
            return Err(Error::new(format!("the images are too large for the native kernels; run with {} standard", Field::KERNELS)));
        }
        *kept = Some(ConvPlan::new(conv));
    }
    kept.as_ref().ok_or_else(|| Error::new("no plan"))
}

impl OnImages for ConvKernel {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(ConvKernel {
            window: Window::read(attributes)?,
            relu: is_set(attributes, RECTIFIED),
            ceiling: ceiling(attributes),
            pads: pads(attributes),
            plan: None,
        })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, w, bias, addend] = inputs.all();
        let [y] = outputs.all();
        let (x, w, bias, addend) = (x.images::<E>()?, w.get()?, bias.optional()?, addend.optional_images::<E>()?);
        let image = x.image()?;
        let output = self.window.output(image, self.pads, w.size(0)?)?;
        let plan = planned(&mut self.plan, self.window.conv(image, output))?;
        let epilogue = Epilogue {
            bias: bias.map(|b| b.data),
            addend: addend.map(|a| a.data),
            relu: self.relu,
            ceiling: self.ceiling,
            ..Epilogue::default()
        };
        plan.forward(cores, x.data, w.data, &epilogue, y.make_images::<E>(&output)?);
        Ok(())
    }
}
