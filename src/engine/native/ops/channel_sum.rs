//! The sum of every channel over images and pixels: the gradient of a bias.

use super::super::compute::norm::column_sums;
use super::super::compute::{Cores, Element};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `x → sums`, `[C]`.
pub const CHANNEL_SUM: Native = Native::on_images::<ChannelSum>(Kernel {
    name: "ChannelSum",
    replaces: Replaces::Operator("ReduceSum"),
    covers,
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    extras: Extras { channel_sums: Some((0, 0)), ..Extras::NONE },
});

/// Sums of images over all axes but the channels', which do not stay.
fn covers(n: &View) -> bool {
    n.node.int("keepdims", 1) == 0 && n.ints(1).is_some_and(|axes| axes == [0, 2, 3])
}

struct ChannelSum;

impl OnImages for ChannelSum {
    fn new(_: &KernelContext) -> Result<Self> {
        Ok(ChannelSum)
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [sums] = outputs.all();
        let x = x.images::<E>()?;
        let channels = x.image()?[3];
        column_sums(cores, x.data, channels, sums.make(&[channels])?);
        Ok(())
    }
}
