//! The gradients of a convolution's weights and bias.

use super::super::compute::{ConvPlan, Cores};
use super::super::graph::Editor;
use super::conv::planned;
use super::window::{Window, is_plain};
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use crate::onnx::pb::NodeProto;
use ort::Result;

/// `(x, dy) → dw, db?`; `dw` is `[O, C/group, kh, kw]`. Attributes of the convolution.
pub const CONV_WEIGHT_GRAD: Native = Native {
    name: "ConvWeightGrad",
    replaces: Some(Replaces { function: true, op_type: "ConvWeightGrad", covers, shape: None }),
    inputs: &[Port::Image, Port::Image],
    outputs: &[Port::Plain, Port::OptionalPlain],
    create: |attributes| Ok(Box::new(ConvWeightGrad { window: Window::read(attributes)?, plan: None })),
};

/// Convolutions of images.
fn covers(editor: &Editor, node: &NodeProto) -> bool {
    is_plain(editor, node) && node.input.iter().all(|v| editor.is_image(v))
}

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
