//! The sum of every channel over images and pixels: the gradient of a bias.

use super::super::compute::Cores;
use super::super::compute::norm::column_sums;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;

/// `x → sums`, `[C]`.
pub const CHANNEL_SUM: Native = Native {
    kernel: Kernel {
        name: "ChannelSum",
        replaces: Replaces::Operator("ReduceSum"),
        covers,
        inputs: &[Port::Image],
        outputs: &[Port::Plain],
        extras: Extras { channel_sums: Some((0, 0)), ..Extras::NONE },
    },
    create: |_| Ok(Box::new(ChannelSum)),
};

/// Sums of images over all axes but the channels', which do not stay.
fn covers(n: &View) -> bool {
    n.node.int("keepdims", 1) == 0 && n.ints(1).is_some_and(|axes| axes == [0, 2, 3])
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
