//! The mean of each channel of an image.

use super::super::compute::images;
use super::{Compute, Context, Native, Port, Replaces};
use ort::Result;

/// `x → y`, `[N, C, 1, 1]`.
pub const GLOBAL_AVERAGE_POOL: Native = Native {
    name: "GlobalAveragePool",
    replaces: Some(Replaces {
        function: false,
        op_type: "GlobalAveragePool",
        covers: |editor, node| editor.is_image(&node.input[0]),
        shape: None,
    }),
    inputs: &[Port::Image],
    outputs: &[Port::Plain],
    create: |_| Ok(Box::new(GlobalAveragePool)),
};

struct GlobalAveragePool;

impl Compute for GlobalAveragePool {
    fn compute(&mut self, cx: &Context) -> Result<()> {
        let x = cx.input(0)?;
        let [n, _, _, channels] = x.image()?;
        images::global_average(cx, n, channels, x.data, cx.output(0, &[n, channels, 1, 1])?);
        Ok(())
    }
}
