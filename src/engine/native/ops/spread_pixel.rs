//! One pixel for a whole image: the gradient of a mean over pixels.

use super::super::compute::{Cores, Element, images};
use super::native::{Native, OnImages};
use super::ports::{Inputs, Outputs};
use super::window::product;
use crate::ir::Dim;
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces, SIZE};
use ort::operator::KernelContext;
use ort::{Error, Result};

/// `x → y`, from `[N, C, 1, 1]` to `[N, C, H, W]`.
pub const SPREAD_PIXEL: Native = Native::on_images::<SpreadPixel>(Kernel {
    // Not ONNX's name: a rewriting of ONNX Runtime looks at names without their domains.
    name: "SpreadPixel",
    replaces: Replaces::Operator("Expand"),
    covers,
    inputs: &[Port::Plain],
    outputs: &[Port::Image],
    extras: Extras { sized: true, ..Extras::NONE },
});

/// Along height and width alone.
pub fn covers(n: &View) -> bool {
    let (Ok(x), [y]) = (n.ty(0), &n.node.outputs[..]) else { return false };
    let y = n.graph.ty(*y);
    match (&*x.shape, &*y.shape) {
        ([n, c, Dim::Known(1), Dim::Known(1)], [images, channels, Dim::Known(_), Dim::Known(_)]) => n == images && c == channels,
        _ => false,
    }
}

struct SpreadPixel {
    size: Vec<i64>,
}

impl OnImages for SpreadPixel {
    fn new(attributes: &KernelContext) -> Result<Self> {
        Ok(SpreadPixel { size: attributes.get::<Vec<i64>>(SIZE).unwrap_or_default() })
    }

    fn run<E: Element>(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()> {
        let [x] = inputs.all();
        let [y] = outputs.all();
        let x = x.get()?;
        let ([n, channels, ..], [height, width]) = (&x.shape[..], &self.size[..]) else {
            return Err(Error::new(format!("an image of {:?} cannot be made of {:?}", self.size, x.shape)));
        };
        let [height, width] = [*height, *width].map(|d| usize::try_from(d).unwrap_or(0));
        let y = y.make_images::<E>(&[*n, height, width, *channels])?;
        images::spread_rows(cores, (*n, *channels), product(&[height, width])?, x.data, y);
        Ok(())
    }
}
