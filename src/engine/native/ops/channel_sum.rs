//! The sum of every channel over images and pixels: the gradient of a bias.

use super::super::compute::Cores;
use super::super::compute::norm::column_sums;
use super::super::graph::Editor;
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use crate::onnx::pb::NodeProto;
use ort::Result;

/// `x → sums`, `[C]`.
pub const CHANNEL_SUM: Native = Native {
    name: "ChannelSum",
    replaces: Some(Replaces { function: false, op_type: "ReduceSum", covers, shape: None }),
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    create: |_| Ok(Box::new(ChannelSum)),
};

/// Sums of images over all axes but the channels', which do not stay.
pub fn covers(editor: &Editor, node: &NodeProto) -> bool {
    let axes = node.input.get(1).and_then(|axes| editor.int_constant(axes));
    editor.is_image(&node.input[0]) && editor.int(node, "keepdims", 1) == 0 && axes.is_some_and(|axes| axes == [0, 2, 3])
}

struct ChannelSum;

impl Compute for ChannelSum {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [sums] = outputs.all();
        let x = x.get()?;
        let channels = x.image()?[3];
        column_sums(cores, x.data, channels, sums.make(&[channels])?);
        Ok(())
    }
}
