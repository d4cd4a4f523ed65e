//! Sums and means over an image's pixels, channel by channel: the gradient of a gate, and a pooling in another spelling.

use super::super::compute::{Cores, Element, images};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::product;
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `x → sums`, `[N, C, 1, 1]`, or `[N, C]` without `keepdims`.
pub const PIXEL_SUM: Native = Native::on_images::<PixelSum<false>>(row("PixelSum", "ReduceSum"));

/// `x → means`, likewise.
pub const PIXEL_MEAN: Native = Native::on_images::<PixelSum<true>>(row("PixelMean", "ReduceMean"));

const fn row(name: &'static str, operator: &'static str) -> Kernel {
    Kernel { name, replaces: Replaces::Operator(operator), covers, inputs: &[Port::Image], outputs: &[Port::Plain], extras: Extras::NONE }
}

/// Over height and width, in any spelling.
fn covers(n: &View) -> bool {
    let axes = n.ints(1).unwrap_or_else(|| n.node.ints("axes").to_vec());
    let axes = crate::operator::axes(&axes, 4).unwrap_or_default();
    axes == [2, 3]
}

struct PixelSum<const MEAN: bool> {
    keeps: bool,
}

impl<const MEAN: bool> OnImages for PixelSum<MEAN> {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(PixelSum { keeps: attributes.get::<i64>("keepdims").unwrap_or(1) != 0 })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.images::<E>()?;
        let [n, height, width, channels] = x.image()?;
        let divisor = if MEAN { product(&[height, width])? as f32 } else { 1.0 };
        let y = if self.keeps { y.make(&[n, channels, 1, 1])? } else { y.make(&[n, channels])? };
        images::pixel_sums(cores, (n, channels), divisor, x.data, y);
        Ok(())
    }
}
