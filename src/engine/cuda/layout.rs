//! From `[N, C, H, W]` to `[N, H, W, C]` and back.

use super::super::native::product;
use super::device::{Compiled, Session};
use super::each::{Call, Each};
use super::library::{Address, Handle};
use super::ports::{Lying, input};
use super::source::{self, Element};
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::pass::{Images, Kernel, TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
use ort::Result;
use ort::operator::{ComputeContext, KernelContext};
use std::sync::Arc;

/// Each element of the result finds the one that it is; `[outer, rows, columns]` becomes `[outer, columns, rows]`.
const SOURCE: &str = r#"
KERNEL transpose(const element *RESTRICT x, place rows, place columns, place n, element *RESTRICT y) {
  place stride = (place)gridDim.x * blockDim.x, all = rows * columns;
  for (place i = (place)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
    place within = i % all, column = within / rows, row = within - column * rows;
    y[i] = x[i - within + row * columns + column];
  }
}
"#;

const NAME: &str = "transpose";

/// Channels and places of as many tensors, which are to change their order.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub outer: usize,
    pub channels: usize,
    pub places: usize,
    /// Whether the channels are to be last.
    pub to_last: bool,
}

/// What puts them in another order.
pub struct Transposed {
    kernel: Compiled,
    rows: usize,
    columns: usize,
    elements: usize,
    /// Of all of it.
    pub bytes: usize,
}

impl Order {
    pub fn prepare(self, session: &Session, element: Element) -> Result<Transposed> {
        let Order { outer, channels, places, to_last } = self;
        let elements = product(&[outer, channels, places])?;
        let text = [&element.alias(), SOURCE].concat();
        let kernel = session.compiled(source::cuda(&text, elements > i32::MAX as usize), &[NAME])?;
        let (rows, columns) = if to_last { (channels, places) } else { (places, channels) };
        Ok(Transposed { kernel, rows, columns, elements, bytes: product(&[elements, element.bytes()])? })
    }
}

impl Transposed {
    /// Reads all elements at one address and writes them at another.
    pub fn run(&self, session: &Session, from: Address, to: Address, stream: Handle) -> Result<()> {
        session.write(&self.kernel, &[from], &[self.rows, self.columns], (to, self.elements), stream)
    }
}

const fn last(name: &'static str) -> Kernel {
    Kernel { name, ..TO_CHANNELS_LAST }
}

const fn first(name: &'static str) -> Kernel {
    Kernel { name, ..TO_CHANNELS_FIRST }
}

/// `[N, C, H, W]` → `[N, H, W, C]`, of each type.
static TO_LAST: [(DType, Kernel); 4] = [
    (DType::F32, last("ToChannelsLast")),
    (DType::F16, last("ToChannelsLastF16")),
    (DType::BF16, last("ToChannelsLastBf16")),
    (DType::Bool, last("ToChannelsLastBool")),
];

/// `[N, H, W, C]` → `[N, C, H, W]`, of each type.
static TO_FIRST: [(DType, Kernel); 4] = [
    (DType::F32, first("ToChannelsFirst")),
    (DType::F16, first("ToChannelsFirstF16")),
    (DType::BF16, first("ToChannelsFirstBf16")),
    (DType::Bool, first("ToChannelsFirstBool")),
];

/// What images on the device are made of.
pub fn images() -> Vec<Images> {
    TO_LAST.iter().zip(&TO_FIRST).map(|((dtype, to_last), (_, to_first))| Images { dtype: *dtype, to_last, to_first }).collect()
}

/// One of both, for whether the channels are to be last.
pub struct Move<const TO_LAST: bool>(Each<()>);

impl<const TO_LAST: bool> Compute for Move<TO_LAST> {
    const ROWS: Rows = if TO_LAST { &self::TO_LAST } else { &TO_FIRST };

    fn new(session: Arc<Session>, element: Element, _: &KernelContext) -> Result<Self> {
        Ok(Move(Each::new(session, element, NAME)))
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let x = input(cx, 0)?;
        let lying = if TO_LAST { Lying::ChannelsFirst } else { Lying::ChannelsLast };
        let [n, c, h, w] = x.image(lying)?;
        let places = product(&[h, w])?;
        let (numbers, shape) = if TO_LAST { ([c, places], [n, h, w, c]) } else { ([places, c], [n, c, h, w]) };
        self.0.run(cx, Call { sizes: (), read: &[&x], numbers: &numbers, shape: &shape }, || SOURCE.into())
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
