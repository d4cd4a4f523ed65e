//! The mean of each channel of an image.

use super::super::compute::{Cores, Element, images};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::product;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::KernelContext;

/// `x → y`, `[N, C, 1, 1]`.
pub const GLOBAL_AVERAGE_POOL: Native = Native::on_images::<GlobalAveragePool>(Kernel {
    name: "GlobalAveragePool",
    replaces: Replaces::Operator("GlobalAveragePool"),
    covers: |_| true,
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    extras: Extras::NONE,
});

struct GlobalAveragePool;

impl OnImages for GlobalAveragePool {
    fn new(_: &KernelContext) -> Result<Self> {
        Ok(GlobalAveragePool)
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.images::<E>()?;
        let [n, height, width, channels] = x.image()?;
        let pixels = product(&[height, width])?;
        images::pixel_sums(cores, (n, channels), pixels as f32, x.data, y.make(&[n, channels, 1, 1])?);
        Ok(())
    }
}
