//! The gradient of the means of windows: to each element its share.

use super::super::compute::{Cores, images};
use super::average_pool::{covers, pads_count};
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use super::window::Window;
use crate::ops::average_pool;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::{Error, Result};

/// `dy → dx`; attributes of `AveragePool`, and `input_shape` with the image's height and width.
pub const AVERAGE_POOL_GRAD: Native = Native {
    kernel: Kernel {
        name: "AveragePoolGrad",
        replaces: Replaces::Function(&average_pool::GRAD),
        covers,
        inputs: &[Port::BroughtImage],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    },
    create: |attributes| {
        let (window, size) = (Window::read(attributes)?, attributes.get::<Vec<i64>>("input_shape").unwrap_or_default());
        Ok(Box::new(AveragePoolGrad { window, size, pads_count: pads_count(attributes) }))
    },
};

struct AveragePoolGrad {
    window: Window,
    size: Vec<i64>,
    pads_count: bool,
}

impl Compute for AveragePoolGrad {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy] = inputs.all();
        let [dx] = outputs.all();
        let dy = dy.get()?;
        let output = dy.image()?;
        let [height, width] = self.size[..] else { return Err(Error::new(format!("an image has two sizes, not {:?}", self.size))) };
        let [height, width] = [height, width].map(|d| usize::try_from(d).unwrap_or(0));
        let input = [output[0], height, width, output[3]];
        images::average_pool_grad(cores, &self.window.conv(input, output), self.pads_count, dy.data, dx.make(&input)?);
        Ok(())
    }
}
