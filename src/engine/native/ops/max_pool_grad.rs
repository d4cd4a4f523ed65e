//! The gradient of the largest elements: to the first of each window.

use super::super::compute::{Cores, images};
use super::max_pool::covers;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use super::window::Window;
use crate::ops::max_pool;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;

/// `(x, y, dy) → dx`; attributes of `MaxPool`.
pub const MAX_POOL_GRAD: Native = Native {
    kernel: Kernel {
        name: "MaxPoolGrad",
        replaces: Replaces::Function(&max_pool::GRAD),
        covers,
        inputs: &[Port::Image, Port::BroughtImage, Port::BroughtImage],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    },
    create: |attributes| Ok(Box::new(MaxPoolGrad { window: Window::read(attributes)? })),
};

struct MaxPoolGrad {
    window: Window,
}

impl Compute for MaxPoolGrad {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, y, dy] = inputs.all();
        let [dx] = outputs.all();
        let (x, y, dy) = (x.get()?, y.get()?, dy.get()?);
        let input = x.image()?;
        let window = self.window.conv(input, y.image()?);
        images::max_pool_grad(cores, &window, x.data, y.data, dy.data, dx.make(&input)?);
        Ok(())
    }
}
