//! The gradients of a convolution's weights and bias.

use super::super::compute::{ConvPlan, Cores};
use super::conv::planned;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::ops::conv;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;

/// `(x, dy) → dw, db?`; `dw` is `[O, C/group, kh, kw]`. Attributes of the convolution.
pub const CONV_WEIGHT_GRAD: Native = Native {
    kernel: Kernel {
        name: "ConvWeightGrad",
        replaces: Replaces::Function(&conv::WEIGHT_GRAD),
        covers: |n| is_plain(n.node),
        inputs: &[Port::Image, Port::Image],
        outputs: &[Port::Plain, Port::OptionalPlain],
        extras: Extras { channel_sums: Some((1, 1)), ..Extras::NONE },
    },
    create: |attributes| Ok(Box::new(ConvWeightGrad { window: Window::read(attributes)?, plan: None })),
};

struct ConvWeightGrad {
    window: Window,
    plan: Option<ConvPlan>,
}

impl Compute for ConvWeightGrad {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x, dy] = inputs.all();
        let [dw, db] = outputs.all();
        let (x, dy) = (x.get()?, dy.get()?);
        let (input, output) = (x.image()?, dy.image()?);
        let plan = planned(&mut self.plan, self.window.conv(input, output))?;
        let [high, wide] = self.window.kernel();
        let dw = dw.make(&[output[3], input[3] / self.window.groups(), high, wide])?;
        let db = db.optional(&[output[3]])?;
        plan.weight_grad(cores, x.data, dy.data, dw, db);
        Ok(())
    }
}
