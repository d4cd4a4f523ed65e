//! The mean of each channel of an image.

use super::super::compute::{Cores, images};
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;

/// `x → y`, `[N, C, 1, 1]`.
pub const GLOBAL_AVERAGE_POOL: Native = Native {
    kernel: Kernel {
        name: "GlobalAveragePool",
        replaces: Replaces::Operator("GlobalAveragePool"),
        covers: |_| true,
        inputs: &[Port::Image],
        outputs: &[Port::Plain],
        extras: Extras::NONE,
    },
    create: |_| Ok(Box::new(GlobalAveragePool)),
};

struct GlobalAveragePool;

impl Compute for GlobalAveragePool {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.get()?;
        let [n, _, _, channels] = x.image()?;
        let pixels = x.data.len() / (n * channels).max(1);
        images::pixel_sums(cores, (n, channels), pixels as f32, x.data, y.make(&[n, channels, 1, 1])?);
        Ok(())
    }
}
