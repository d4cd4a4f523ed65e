//! The gradient of the means of windows: to each element its share.

use super::super::compute::{Cores, Element, images};
use super::average_pool::{covers, pads_count};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::Window;
use crate::ops::average_pool;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `dy → dx`; attributes of `AveragePool`, and `input_shape` with the image's height and width.
pub const AVERAGE_POOL_GRAD: Native = Native::on_images::<AveragePoolGrad>(Kernel {
    name: "AveragePoolGrad",
    replaces: Replaces::Function(&average_pool::GRAD),
    covers,
    inputs: &[Port::BroughtImage],
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

struct AveragePoolGrad {
    window: Window,
    size: Vec<i64>,
    pads_count: bool,
}

impl OnImages for AveragePoolGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        let (window, size) = (Window::read(attributes)?, attributes.get::<Vec<i64>>("input_shape").unwrap_or_default());
        Ok(AveragePoolGrad { window, size, pads_count: pads_count(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy] = inputs.all();
        let [dx] = outputs.all();
        let dy = dy.images::<E>()?;
        let output = dy.image()?;
        let [height, width] = self.size[..] else { return Err(Error::new(format!("an image has two sizes, not {:?}", self.size))) };
        let [height, width] = [height, width].map(|d| usize::try_from(d).unwrap_or(0));
        let input = [output[0], height, width, output[3]];
        images::average_pool_grad(cores, &self.window.conv(input, output), self.pads_count, dy.data, dx.make_images::<E>(&input)?);
        Ok(())
    }
}
