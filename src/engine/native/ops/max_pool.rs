//! The largest element of each window.

use super::super::compute::{ConvGeometry, Cores, images};
use super::super::graph::Editor;
use super::window::{self, Window, is_plain};
use super::{Compute, Inputs, Native, Outputs, Port, Replaces};
use crate::onnx::pb::NodeProto;
use ort::Result;

/// `x → y`; attributes of `MaxPool`.
pub const MAX_POOL: Native = Native {
    name: "MaxPool",
    replaces: Some(Replaces {
        function: false,
        op_type: "MaxPool",
        covers,
        shape: Some(|editor, node| window::output(editor, node, None)),
    }),
    inputs: &[Port::Image],
    outputs: &[Port::Image],
    create: |attributes| Ok(Box::new(MaxPool { window: Window::read(attributes)?, pads: super::conv::pads(attributes) })),
};

/// Windows over images that are counted down, without indices.
pub fn covers(editor: &Editor, node: &NodeProto) -> bool {
    let whole = editor.int(node, "ceil_mode", 0) == 0 && editor.int(node, "storage_order", 0) == 0;
    is_plain(editor, node) && whole && node.output.len() == 1 && editor.is_image(&node.input[0])
}

struct MaxPool {
    window: Window,
    pads: [usize; 4],
}

impl Compute for MaxPool {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.get()?;
        let input = x.image()?;
        let output = self.window.output(input, self.pads, input[3])?;
        let window: ConvGeometry = self.window.conv(input, output);
        images::max_pool(cores, &window, x.data, y.make(&output)?);
        Ok(())
    }
}
