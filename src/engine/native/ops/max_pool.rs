//! The largest element of each window.

use super::super::compute::{ConvGeometry, Cores, images};
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;

/// `x → y`; attributes of `MaxPool`.
pub const MAX_POOL: Native = Native {
    kernel: Kernel {
        name: "MaxPool",
        replaces: Replaces::Operator("MaxPool"),
        covers,
        inputs: &[Port::Image],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    },
    create: |attributes| Ok(Box::new(MaxPool { window: Window::read(attributes)?, pads: super::conv::pads(attributes) })),
};

/// Windows over images that are counted down, without indices.
pub fn covers(n: &View) -> bool {
    let whole = n.node.int("ceil_mode", 0) == 0 && n.node.int("storage_order", 0) == 0;
    is_plain(n.node) && whole && n.node.outputs.len() == 1
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
