//! The largest element of each window of images with their channels last.

use super::super::native::{Window, pads, pools};
use super::device::Session;
use super::each::{Call, Each};
use super::pool;
use super::ports::{Lying, input};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::{ComputeContext, KernelContext};
use std::sync::Arc;

/// Not a number is larger than any.
pub const SOURCE: &str = r#"
KERNEL pool(const element *RESTRICT x, place n, element *RESTRICT y) {
  place stride = (place)gridDim.x * blockDim.x;
  for (place i = (place)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
    place c = i % CHANNELS, at = i / CHANNELS;
    int column = (int)(at % COLUMNS), row = (int)(at / COLUMNS % ROWS);
    place image = at / COLUMNS / ROWS;
    float best = bits(0xff800000u);
    for (int a = 0; a < KERNEL_H; ++a) for (int b = 0; b < KERNEL_W; ++b) {
      int h = row * STRIDE_H + a * DILATION_H - TOP, w = column * STRIDE_W + b * DILATION_W - LEFT;
      if (h < 0 || h >= HEIGHT || w < 0 || w >= WIDTH) continue;
      float value = from_element(x[((image * HEIGHT + h) * WIDTH + w) * CHANNELS + c]);
      if (value > best || value != value) best = value;
    }
    y[i] = to_element(best);
  }
}
"#;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Operator("MaxPool"),
        covers: pools,
        inputs: &[Port::Image],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    }
}

/// `x → y` of each type. Attributes of `MaxPool`.
static LAST: [(DType, Kernel); 3] =
    [(DType::F32, row("MaxPoolLast")), (DType::F16, row("MaxPoolLastF16")), (DType::BF16, row("MaxPoolLastBf16"))];

pub struct MaxPool {
    window: Window,
    pads: [usize; 4],
    each: Each<[usize; 4]>,
}

impl Compute for MaxPool {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        Ok(MaxPool { window: Window::read(attributes)?, pads: pads(attributes), each: Each::new(session, element, "pool") })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let x = input(cx, 0)?;
        let sizes @ [n, c, height, width] = x.image(Lying::ChannelsLast)?;
        let behind @ [_, rows, columns, _] = self.window.output([n, height, width, c], self.pads, c)?;
        let source = || pool::defined(&self.window, [c, height, width], [rows, columns]) + SOURCE;
        self.each.run(cx, Call { sizes, read: &[&x], numbers: &[], shape: &behind }, source)
    }
}

#[cfg(test)]
#[path = "max_pool_tests.rs"]
mod tests;
