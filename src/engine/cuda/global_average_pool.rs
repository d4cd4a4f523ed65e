//! The mean of each channel of images with their channels last.

use super::super::native::product;
use super::device::Session;
use super::each::{Call, Each};
use super::ports::{Lying, input};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::{ComputeContext, KernelContext};
use std::sync::Arc;

/// A thread has a channel of an image, so that those beside each other read what lies so.
pub const SOURCE: &str = r#"
KERNEL average(const element *RESTRICT x, place channels, place places, place n, element *RESTRICT y) {
  place stride = (place)gridDim.x * blockDim.x;
  for (place i = (place)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
    place image = i / channels, from = image * places * channels + (i - image * channels);
    float sum = 0.0f;
    for (place p = 0; p < places; ++p) sum += from_element(x[from + p * channels]);
    y[i] = to_element(sum / (float)places);
  }
}
"#;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Operator("GlobalAveragePool"),
        covers: |_| true,
        inputs: &[Port::Image],
        outputs: &[Port::Plain],
        extras: Extras::NONE,
    }
}

/// `x → y`, `[N, C, 1, 1]`, of each type.
static LAST: [(DType, Kernel); 3] = [
    (DType::F32, row("GlobalAveragePoolLast")),
    (DType::F16, row("GlobalAveragePoolLastF16")),
    (DType::BF16, row("GlobalAveragePoolLastBf16")),
];

pub struct GlobalAveragePool(Each<()>);

impl Compute for GlobalAveragePool {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, _: &KernelContext) -> Result<Self> {
        Ok(GlobalAveragePool(Each::new(session, element, "average")))
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let x = input(cx, 0)?;
        let [n, channels, height, width] = x.image(Lying::ChannelsLast)?;
        let numbers = [channels, product(&[height, width])?];
        self.0.run(cx, Call { sizes: (), read: &[&x], numbers: &numbers, shape: &[n, channels, 1, 1] }, || SOURCE.into())
    }
}
