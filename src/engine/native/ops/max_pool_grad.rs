//! The gradient of the largest elements: to the first of each window.

use super::super::compute::{Cores, images};
use super::max_pool::covers;
use super::window::Window;
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use ort::Result;

/// `(x, y, dy) → dx`; attributes of `MaxPool`.
pub const MAX_POOL_GRAD: Native = Native {
    name: "MaxPoolGrad",
    replaces: Some(Replaces {
        function: true,
        op_type: "MaxPoolGrad",
        covers,
        shape: Some(|editor, node| editor.shape(&node.input[0]).map(<[i64]>::to_vec)),
    }),
    inputs: &[Port::Image, Port::Image, Port::Image],
    outputs: &[Port::Image],
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
