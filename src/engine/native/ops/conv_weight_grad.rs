//! The gradients of a convolution's weights and bias.

use super::super::compute::{ConvPlan, Cores, Element};
use super::conv::planned;
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::ops::conv;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `(x, dy) → dw, db?`; `dw` is `[O, C/group, kh, kw]`. Attributes of the convolution.
pub const CONV_WEIGHT_GRAD: Native = Native::on_images::<ConvWeightGrad>(Kernel {
    name: "ConvWeightGrad",
    replaces: Replaces::Function(&conv::WEIGHT_GRAD),
    covers: |n| is_plain(n.node),
    inputs: &[Port::Image, Port::Image],
    outputs: &[Port::Plain, Port::OptionalPlain],
    extras: Extras { channel_sums: Some((1, 1)), ..Extras::NONE },
});

struct ConvWeightGrad {
    window: Window,
    plan: Option<ConvPlan>,
}

impl OnImages for ConvWeightGrad {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(ConvWeightGrad { window: Window::read(attributes)?, plan: None })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, dy] = inputs.all();
        let [dw, db] = outputs.all();
        let (x, dy) = (x.images::<E>()?, dy.images::<E>()?);
        let (input, output) = (x.image()?, dy.image()?);
        let plan = planned(&mut self.plan, self.window.conv(input, output))?;
        let [high, wide] = self.window.kernel;
        let channels = input[3].checked_div(self.window.groups).ok_or_else(|| Error::new("a convolution has no groups"))?;
        let dw = dw.make(&[output[3], channels, high, wide])?;
        let db = db.optional(&[output[3]])?;
        plan.weight_grad(cores, x.data, dy.data, dw, db);
        Ok(())
    }
}
