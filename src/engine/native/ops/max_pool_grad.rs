//! The gradient of the largest elements: to the first of each window.

use super::super::compute::{Cores, Element, images};
use super::max_pool::covers;
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::Window;
use crate::ops::max_pool;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `(x, y, dy) → dx`; attributes of `MaxPool`.
pub const MAX_POOL_GRAD: Native = Native::on_images::<MaxPoolGrad>(Kernel {
    name: "MaxPoolGrad",
    replaces: Replaces::Function(&max_pool::GRAD),
    covers,
    inputs: &[Port::Image, Port::BroughtImage, Port::BroughtImage],
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

struct MaxPoolGrad {
    window: Window,
}

impl OnImages for MaxPoolGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(MaxPoolGrad { window: Window::read(attributes)? })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, y, dy] = inputs.all();
        let [dx] = outputs.all();
        let (x, y, dy) = (x.images::<E>()?, y.images::<E>()?, dy.images::<E>()?);
        let input = x.image()?;
        let window = self.window.conv(input, y.image()?);
        images::max_pool_grad(cores, &window, x.data, y.data, dy.data, dx.make_images::<E>(&input)?);
        Ok(())
    }
}
