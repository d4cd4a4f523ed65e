//! The mean of each window.

use super::super::compute::{ConvGeometry, Cores, Element, images};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::{Window, is_plain};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `x → y`; attributes of `AveragePool`.
pub const AVERAGE_POOL: Native = Native::on_images::<AveragePool>(Kernel {
    name: "AveragePool",
    replaces: Replaces::Operator("AveragePool"),
    covers,
    inputs: &[Port::Image],
    outputs: &[Port::Image],
    extras: Extras::NONE,
});

/// Windows over images that are counted down.
pub fn covers(n: &View) -> bool {
    is_plain(n.node) && n.node.int("ceil_mode", 0) == 0
}

/// Whether zeros of the padding are among those that the mean is of.
pub fn pads_count(attributes: &KernelContext) -> bool {
    super::conv::is_set(attributes, "count_include_pad")
}

struct AveragePool {
    window: Window,
    pads: [usize; 4],
    pads_count: bool,
}

impl OnImages for AveragePool {
    fn new(attributes: &KernelContext) -> Result<Self> {
        let (window, pads) = (Window::read(attributes)?, super::conv::pads(attributes));
        Ok(AveragePool { window, pads, pads_count: pads_count(attributes) })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let pool = |window: &ConvGeometry, x: &[E], y: &mut [E]| images::average_pool(cores, window, self.pads_count, x, y);
        self.window.pool(self.pads, (inputs, outputs), pool)
    }
}
