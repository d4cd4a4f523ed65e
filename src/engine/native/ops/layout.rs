//! From `[N, C, H, W]` to `[N, H, W, C]` and back.

use super::super::compute::images::transposed;
use super::{Compute, Context, Native, Port};
use ort::{Error, Result};

pub const TO_CHANNELS_LAST: Native = Native {
    name: "ToChannelsLast",
    replaces: None,
    inputs: &[Port::Plain],
    outputs: &[Port::Image],
    create: |_| Ok(Box::new(Layout { last: true })),
};

pub const TO_CHANNELS_FIRST: Native = Native {
    name: "ToChannelsFirst",
    replaces: None,
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    create: |_| Ok(Box::new(Layout { last: false })),
};

struct Layout {
    last: bool,
}

impl Compute for Layout {
    fn compute(&mut self, cx: &Context) -> Result<()> {
        let x = cx.input(0)?;
        let [n, a, b, c] = x.shape[..] else { return Err(Error::new(format!("an image was expected, not {:?}", x.shape))) };
        match self.last {
            true => transposed(cx, n, a, b * c, x.data, cx.output(0, &[n, b, c, a])?),
            false => transposed(cx, n, a * b, c, x.data, cx.output(0, &[n, c, a, b])?),
        }
        Ok(())
    }
}
