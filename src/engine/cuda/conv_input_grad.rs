//! The gradient of a convolution's image with its channels last, by cuDNN.

use super::super::native::{Window, product};
use super::convolution::{Convolution, ConvolutionPlan, Kind, Sizes, Tensors};
use super::device::Session;
use super::kept::Kept;
use super::ports::{Lying, input, output, stream};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::ops::conv;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::operator::{ComputeContext, KernelContext};
use ort::{Error, Result};
use std::sync::Arc;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Function(&conv::INPUT_GRAD),
        covers: |n| super::conv::covers(n) && n.node.ints("input_shape").len() == 2,
        inputs: &[Port::BroughtImage, Port::Plain],
        outputs: &[Port::Image],
        extras: Extras::NONE,
    }
}

/// `(dy, w) → dx` of each type. Attributes of the convolution, and `input_shape`, the height and width of its input.
static LAST: [(DType, Kernel); 3] =
    [(DType::F32, row("ConvInputGradLast")), (DType::F16, row("ConvInputGradLastF16")), (DType::BF16, row("ConvInputGradLastBf16"))];

pub struct ConvInputGrad {
    of: Convolution,
    size: [usize; 2],
    plan: Kept<Sizes, ConvolutionPlan>,
}

impl Compute for ConvInputGrad {
    const ROWS: Rows = &LAST;

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        let list = attributes.get::<Vec<i64>>("input_shape").unwrap_or_default();
        let size: Option<Vec<usize>> = list.iter().map(|&d| usize::try_from(d).ok()).collect();
        let size = size.and_then(|s| s.try_into().ok()).ok_or_else(|| Error::new("`input_shape` must be a height and a width"))?;
        let window = Window::read(attributes)?;
        Ok(ConvInputGrad {
            of: Convolution { session, element, kind: Kind::Input, lying: Lying::ChannelsLast, window },
            size,
            plan: Kept::NONE,
        })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let (dy, w, stream) = (input(cx, 0)?, input(cx, 1)?, stream(cx)?);
        let handle = self.of.session.cudnn(stream)?;
        let behind @ [n, ..] = dy.image(Lying::ChannelsLast)?;
        let (channels, [height, width]) = (product(&[w.size(1)?, self.of.window.groups])?, self.size);
        let plan = self.of.plan(&mut self.plan, handle, [[n, channels, height, width], behind])?;
        w.check(&plan.weights)?;
        let dx = output(cx, 0, &[n, height, width, channels])?;
        plan.run(handle, stream, Tensors { x: dx, y: dy.address, w: w.address })
    }
}
