//! Convolution of images with their channels last, by cuDNN.

use super::super::native::Window;
use super::convolution::{Convolution, ConvolutionPlan, Kind, Sizes, Tensors, is_covered_last};
use super::device::Session;
use super::kept::Kept;
use super::ports::{Lying, input, output, stream};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::operator::View;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::{ComputeContext, KernelContext};
use std::sync::Arc;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Operator("Conv"),
        covers,
        inputs: &[Port::BroughtImage, Port::Plain],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    }
}

/// Without a bias, with weights of the images' type.
pub fn covers(n: &View) -> bool {
    let same = n.ty(0).is_ok_and(|x| n.ty(1).is_ok_and(|w| w.dtype == x.dtype));
    is_covered_last(n.node) && same && n.node.inputs.len() == 2
}

/// `(x, w) → y` of each type. Attributes of `Conv`.
static LAST: [(DType, Kernel); 3] = [(DType::F32, row("ConvLast")), (DType::F16, row("ConvLastF16")), (DType::BF16, row("ConvLastBf16"))];

pub struct Conv {
    of: Convolution,
    plan: Kept<Sizes, ConvolutionPlan>,
}

impl Compute for Conv {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        let window = Window::read(attributes)?;
        Ok(Conv { of: Convolution { session, element, kind: Kind::Forward, lying: Lying::ChannelsLast, window }, plan: Kept::NONE })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let (x, w, stream) = (input(cx, 0)?, input(cx, 1)?, stream(cx)?);
        let handle = self.of.session.cudnn(stream)?;
        let before @ [n, c, h, width] = x.image(Lying::ChannelsLast)?;
        let [top, left] = self.of.window.pads;
        let [_, oh, ow, features] = self.of.window.output([n, h, width, c], [top, left, top, left], w.size(0)?)?;
        let plan = self.of.plan(&mut self.plan, handle, [before, [n, features, oh, ow]])?;
        w.check(&plan.weights)?;
        let y = output(cx, 0, &[n, oh, ow, features])?;
        plan.run(handle, stream, Tensors { x: x.address, y, w: w.address })
    }
}
