//! The gradient of the largest elements of images with their channels last: to the first of each window.

use super::super::native::{Window, pools};
use super::device::Session;
use super::each::{Call, Each};
use super::pool;
use super::ports::{Lying, input};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::ops::max_pool;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::{ComputeContext, KernelContext};
use ort::{Error, Result};
use std::sync::Arc;

/// An element looks at the windows that it is in, in order; where it is the largest, at those before it in the window.
pub const SOURCE: &str = r#"
DEVICE int is_largest(float value, float largest) { return value == largest || (value != value && largest != largest); }
KERNEL pool_grad(const element *RESTRICT x, const element *RESTRICT y, const element *RESTRICT dy, place n, element *RESTRICT dx) {
  place stride = (place)gridDim.x * blockDim.x;
  for (place i = (place)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) {
    place c = i % CHANNELS, at = i / CHANNELS;
    int w = (int)(at % WIDTH), h = (int)(at / WIDTH % HEIGHT);
    place image = at / WIDTH / HEIGHT;
    float own = from_element(x[i]), sum = 0.0f;
    for (int a = 0; a < KERNEL_H; ++a) for (int b = 0; b < KERNEL_W; ++b) {
      int top = h + TOP - a * DILATION_H, left = w + LEFT - b * DILATION_W;
      if (top < 0 || top % STRIDE_H || left < 0 || left % STRIDE_W) continue;
      int row = top / STRIDE_H, column = left / STRIDE_W;
      if (row >= ROWS || column >= COLUMNS) continue;
      place window = ((image * ROWS + row) * COLUMNS + column) * CHANNELS + c;
      float largest = from_element(y[window]);
      if (!is_largest(own, largest)) continue;
      int before = 0;
      for (int k = 0; k < a * KERNEL_W + b; ++k) {
        int r = row * STRIDE_H + k / KERNEL_W * DILATION_H - TOP, s = column * STRIDE_W + k % KERNEL_W * DILATION_W - LEFT;
        if (r < 0 || r >= HEIGHT || s < 0 || s >= WIDTH) continue;
        before |= is_largest(from_element(x[((image * HEIGHT + r) * WIDTH + s) * CHANNELS + c]), largest);
      }
      if (!before) sum += from_element(dy[window]);
    }
    dx[i] = to_element(sum);
  }
}
"#;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Function(&max_pool::GRAD),
        covers: pools,
        inputs: &[Port::Image, Port::BroughtImage, Port::BroughtImage],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    }
}

/// `(x, y, dy) → dx` of each type. Attributes of `MaxPool`.
static LAST: [(DType, Kernel); 3] =
    [(DType::F32, row("MaxPoolGradLast")), (DType::F16, row("MaxPoolGradLastF16")), (DType::BF16, row("MaxPoolGradLastBf16"))];

pub struct MaxPoolGrad {
    window: Window,
    each: Each<[[usize; 4]; 2]>,
}

impl Compute for MaxPoolGrad {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        Ok(MaxPoolGrad { window: Window::read(attributes)?, each: Each::new(session, element, "pool_grad") })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let (x, y, dy) = (input(cx, 0)?, input(cx, 1)?, input(cx, 2)?);
        let (before, behind) = (x.image(Lying::ChannelsLast)?, y.image(Lying::ChannelsLast)?);
        let ([n, c, height, width], [images, channels, rows, columns]) = (before, behind);
        dy.check(&y.shape)?;
        if [n, c] != [images, channels] {
            return Err(Error::new(format!("what is pooled has the shape {:?}, the result {:?}", x.shape, y.shape)));
        }
        let source = || pool::defined(&self.window, [c, height, width], [rows, columns]) + SOURCE;
        self.each.run(cx, Call { sizes: [before, behind], read: &[&x, &y, &dy], numbers: &[], shape: &x.shape }, source)
    }
}
