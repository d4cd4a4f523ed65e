//! The largest element of each window.

use super::super::compute::{Cores, Element, images};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `x → y`; attributes of `MaxPool`.
pub const MAX_POOL: Native = Native::on_images::<MaxPool>(Kernel {
    name: "MaxPool",
    replaces: Replaces::Operator("MaxPool"),
    covers,
    inputs: &[Port::Image],
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

/// Windows over images that are counted down, without indices.
pub fn covers(n: &View) -> bool {
    let whole = n.node.int("ceil_mode", 0) == 0 && n.node.int("storage_order", 0) == 0;
    is_plain(n.node) && whole && n.node.outputs.len() == 1
}

struct MaxPool {
    window: Window,
    pads: [usize; 4],
}

impl OnImages for MaxPool {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(MaxPool { window: Window::read(attributes)?, pads: super::conv::pads(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        self.window.pool(self.pads, (inputs, outputs), |window, x: &[E], y| images::max_pool(cores, window, x, y))
    }
}
