//! One pixel for a whole image with its channels last: the gradient of a mean over pixels.

use super::super::native::{product, spreads_pixel};
use super::device::Session;
use super::each::{Call, Each};
use super::ports::input;
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::pass::{Extras, Kernel, Port, Replaces, SIZE};
use ort::operator::{ComputeContext, KernelContext};
use ort::{Error, Result};
use std::sync::Arc;

pub const SOURCE: &str = r#"
KERNEL spread(const element *RESTRICT x, place channels, place places, place n, element *RESTRICT y) {
  place stride = (place)gridDim.x * blockDim.x;
  for (place i = (place)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) y[i] = x[i / channels / places * channels + i % channels];
}
"#;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Operator("Expand"),
        covers: spreads_pixel,
        inputs: &[Port::Plain],
        outputs: &[Port::Image],
        extras: Extras { sized: true, ..Extras::NONE },
    }
}

/// `x → y` of each type, from `[N, C, 1, 1]` to `[N, C, H, W]`.
static LAST: [(DType, Kernel); 3] =
    [(DType::F32, row("SpreadPixelLast")), (DType::F16, row("SpreadPixelLastF16")), (DType::BF16, row("SpreadPixelLastBf16"))];

pub struct SpreadPixel {
    size: [usize; 2],
    each: Each<()>,
}

impl Compute for SpreadPixel {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        let list = attributes.get::<Vec<i64>>(SIZE).unwrap_or_default();
        let size: Option<Vec<usize>> = list.iter().map(|&d| usize::try_from(d).ok()).collect();
        let size = size.and_then(|s| s.try_into().ok()).ok_or_else(|| Error::new(format!("`{SIZE}` must be a height and a width")))?;
        Ok(SpreadPixel { size, each: Each::new(session, element, "spread") })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let (x, [height, width]) = (input(cx, 0)?, self.size);
        let &[n, channels, 1, 1] = &x.shape[..] else { return Err(Error::new(format!("{:?} are no pixels", x.shape))) };
        let numbers = [channels, product(&self.size)?];
        self.each.run(cx, Call { sizes: (), read: &[&x], numbers: &numbers, shape: &[n, height, width, channels] }, || SOURCE.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{global_average_pool, host};
    use super::*;
    use std::ffi::c_void;

    #[test]
    fn a_pixel_is_spread_and_a_mean_is_taken() {
        let (n, channels, places) = (3u32, 5u32, 7u32);
        let mut pixels: Vec<f32> = (0..n * channels).map(|i| i as f32 * 1.5 - 4.0).collect();
        let mut y = vec![0f32; (n * channels * places) as usize];
        let (mut c, mut p, mut all, mut few) = (channels, places, n * channels * places, n * channels);
        let spread = host::compile(&[&Element::F32.alias(), SOURCE].concat(), &["spread"], false);
        let mut list: Vec<*mut c_void> = vec![pixels.as_mut_ptr().cast()];
        list.extend([&mut c, &mut p, &mut all].map(|n| std::ptr::from_mut(n).cast::<c_void>()));
        list.push(y.as_mut_ptr().cast());
        spread.call("spread", &mut list, [2, 1]);
        for (i, found) in y.iter().enumerate() {
            let (channel, image) = (i % channels as usize, i / (channels * places) as usize);
            assert_eq!(*found, pixels[image * channels as usize + channel]);
        }
        y.iter_mut().enumerate().for_each(|(i, y)| *y += (i / channels as usize % places as usize) as f32 - 3.0);
        let mut means = vec![0f32; pixels.len()];
        let average = host::compile(&[&Element::F32.alias(), global_average_pool::SOURCE].concat(), &["average"], false);
        let mut list: Vec<*mut c_void> = vec![y.as_mut_ptr().cast()];
        list.extend([&mut c, &mut p, &mut few].map(|n| std::ptr::from_mut(n).cast::<c_void>()));
        list.push(means.as_mut_ptr().cast());
        average.call("average", &mut list, [2, 1]);
        assert_eq!(means, pixels);
    }
}
