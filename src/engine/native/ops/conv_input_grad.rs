//! The gradient of a convolution's input, with what follows it: a cotangent to add, a rectifier's mask.

use super::super::compute::{ConvPlan, Cores, Epilogue};
use super::super::graph::Editor;
use super::conv::{self, planned};
use super::window::Window;
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use crate::onnx::pb::NodeProto;
use ort::{Error, Result};

/// `(dy, w, addend?, y?) → dx`: with `y`, 0 where it is not positive. Attributes of the convolution, and `input_shape`, the height and
/// width of its input.
pub const CONV_INPUT_GRAD: Native = Native {
    name: "ConvInputGrad",
    replaces: Some(Replaces { function: true, op_type: "ConvInputGrad", covers, shape: Some(shape) }),
    inputs: &[Port::Image, Port::Plain, Port::OptionalImage, Port::OptionalImage],
    outputs: &[Port::Image],
    create: |attributes| {
        let size = attributes.get::<Vec<i64>>("input_shape").unwrap_or_default();
        let [height, width] = size[..] else { return Err(Error::new("`input_shape` must be a height and a width")) };
        Ok(Box::new(ConvInputGrad { window: Window::read(attributes)?, size: [height as usize, width as usize], plan: None }))
    },
};

/// What the forward convolution covers, where the input's size is known.
fn covers(editor: &Editor, node: &NodeProto) -> bool {
    conv::covers(editor, node) && editor.ints(node, "input_shape").len() == 2 && editor.is_image(&node.input[0])
}

fn shape(editor: &Editor, node: &NodeProto) -> Option<Vec<i64>> {
    let channels = *editor.shape(&node.input[1])?.get(1)? * editor.int(node, "group", 1);
    match (editor.shape(&node.input[0])?, editor.ints(node, "input_shape")) {
        ([images, ..], [height, width]) => Some(vec![*images, channels, *height, *width]),
        _ => None,
    }
}

struct ConvInputGrad {
    window: Window,
    size: [usize; 2],
    plan: Option<ConvPlan>,
}

impl Compute for ConvInputGrad {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [dy, w, addend, mask] = inputs.all();
        let [dx] = outputs.all();
        let (dy, w, addend, mask) = (dy.get()?, w.get()?, addend.optional()?, mask.optional()?);
        let output = dy.image()?;
        let channels = w.shape[1] * self.window.groups();
        let input = [output[0], self.size[0], self.size[1], channels];
        let plan = planned(&mut self.plan, self.window.conv(input, output))?;
        let epilogue = Epilogue { addend: addend.map(|a| a.data), mask: mask.map(|m| m.data), ..Epilogue::default() };
        plan.input_grad(cores, dy.data, w.data, &epilogue, dx.make(&input)?);
        Ok(())
    }
}
