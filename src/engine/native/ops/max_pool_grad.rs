//! The gradient of the largest elements: to the first of each window.

use super::super::compute::images;
use super::max_pool::covers;
use super::window::Window;
use super::{Compute, Context, Native, Port, Replaces};
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
    fn compute(&mut self, cx: &Context) -> Result<()> {
        let (x, y, dy) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        let input = x.image()?;
        let window = self.window.conv(input, y.image()?);
        images::max_pool_grad(cx, cx.isa, &window, x.data, y.data, dy.data, cx.output(0, &input)?);
        Ok(())
    }
}
