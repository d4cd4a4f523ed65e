//! From `[N, C, H, W]` to `[N, H, W, C]` and back.

use super::super::compute::Cores;
use super::super::compute::images::transposed;
use super::native::{Compute, Native};
use super::ports::{Inputs, Outputs};
use crate::pass::{TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
use ort::{Error, Result};

pub const TO_LAST: Native = Native { kernel: TO_CHANNELS_LAST, create: |_| Ok(Box::new(Layout { last: true })) };

pub const TO_FIRST: Native = Native { kernel: TO_CHANNELS_FIRST, create: |_| Ok(Box::new(Layout { last: false })) };

struct Layout {
    last: bool,
}

impl Compute for Layout {
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.get()?;
        let [n, a, b, c] = x.shape[..] else { return Err(Error::new(format!("an image was expected, not {:?}", x.shape))) };
        match self.last {
            true => transposed(cores, n, a, b * c, x.data, y.make(&[n, b, c, a])?),
            false => transposed(cores, n, a * b, c, x.data, y.make(&[n, c, a, b])?),
        }
        Ok(())
    }
}
