//! The gradient of a convolution's input, with what follows it: a cotangent to add, a rectifier's mask.

use super::super::compute::{ConvPlan, Cores, Element, Epilogue};
use super::conv::{ceiling, planned};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::Window;
use super::window::product;
use crate::operator::View;
use crate::ops::conv;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `(dy, w, addend?, y?) → dx`: with `y`, 0 where it is not positive, or reaches `ceiling`. Attributes of the convolution, and `input_shape`, the height and
/// width of its input.
pub const CONV_INPUT_GRAD: Native = Native::on_images::<ConvInputGrad>(Kernel {
    name: "ConvInputGrad",
    replaces: Replaces::Function(&conv::INPUT_GRAD),
    covers,
    inputs: &[Port::Image, Port::Plain, Port::OptionalImage, Port::OptionalImage],
    outputs: &[Port::Image],
    extras: Extras { addend: Some(2), mask: Some(3), ..Extras::NONE },
});

/// What the forward convolution covers, where the input's size is known.
fn covers(n: &View) -> bool {
    super::conv::covers(n) && n.node.ints("input_shape").len() == 2
}

struct ConvInputGrad {
    window: Window,
    size: [usize; 2],
    ceiling: Option<f32>,
    plan: Option<ConvPlan>,
}

impl OnImages for ConvInputGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        let size = attributes.get::<Vec<i64>>("input_shape").unwrap_or_default();
        let [height, width] = size[..] else { return Err(Error::new("`input_shape` must be a height and a width")) };
        let size = [height as usize, width as usize];
        Ok(ConvInputGrad { window: Window::read(attributes)?, size, ceiling: ceiling(attributes), plan: None })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, w, addend, mask] = inputs.all();
        let [dx] = outputs.all();
        let (dy, w, addend, mask) = (dy.images::<E>()?, w.get()?, addend.optional_images::<E>()?, mask.optional_images::<E>()?);
        let output = dy.image()?;
        let channels = product(&[w.size(1)?, self.window.groups])?;
        let input = [output[0], self.size[0], self.size[1], channels];
        let plan = planned(&mut self.plan, self.window.conv(input, output))?;
        let (addend, mask) = (addend.map(|a| a.data), mask.map(|m| m.data));
        let epilogue = Epilogue { addend, mask, ceiling: self.ceiling, ..Epilogue::default() };
        plan.input_grad(cores, dy.data, w.data, &epilogue, dx.make_images::<E>(&input)?);
        Ok(())
    }
}
