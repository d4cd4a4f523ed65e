//! The gradient of a convolution's weights, by cuDNN.

use super::super::native::Window;
use super::convolution::{Convolution, ConvolutionPlan, Kind, Sizes, Tensors, is_covered, is_covered_last};
use super::device::Session;
use super::kept::Kept;
use super::ports::{Lying, input, output, stream};
use super::source::Element;
use super::typed::{Compute, Rows};
use crate::ir::DType;
use crate::operator::View;
use crate::ops::conv;
use crate::pass::{Extras, Kernel, Port, Replaces};
use ort::Result;
use ort::operator::{ComputeContext, KernelContext};
use std::sync::Arc;

const fn row(name: &'static str) -> Kernel {
    Kernel {
        name,
        replaces: Replaces::Function(&conv::WEIGHT_GRAD),
        covers: |n| is_covered(n.node),
        inputs: &[Port::Plain, Port::Plain],
        outputs: &[Port::Plain],
        extras: Extras::NONE,
    }
}

const fn last(name: &'static str) -> Kernel {
    Kernel { covers: covers_last, inputs: &[Port::BroughtImage, Port::BroughtImage], ..row(name) }
}

/// Where the weights are of the images' type.
fn covers_last(n: &View) -> bool {
    let same = n.ty(0).is_ok_and(|x| n.node.outputs.first().is_some_and(|&dw| n.graph.ty(dw).dtype == x.dtype));
    is_covered_last(n.node) && same
}

/// `(x, dy) → dw` of each type; `dw` is `[O, C/group, kh, kw]`. Attributes of the convolution.
static ROWS: [(DType, Kernel); 3] =
    [(DType::F32, row("ConvWeightGrad")), (DType::F16, row("ConvWeightGradF16")), (DType::BF16, row("ConvWeightGradBf16"))];

/// The same of images with their channels last.
static LAST: [(DType, Kernel); 3] =
    [(DType::F32, last("ConvWeightGradLast")), (DType::F16, last("ConvWeightGradLastF16")), (DType::BF16, last("ConvWeightGradLastBf16"))];

/// Of images as ONNX has them, or with their channels last.
pub struct ConvWeightGrad<const IS_LAST: bool> {
    of: Convolution,
    plan: Kept<Sizes, ConvolutionPlan>,
}

impl<const IS_LAST: bool> Compute for ConvWeightGrad<IS_LAST> {
    const ROWS: Rows = if IS_LAST { &LAST } else { &ROWS };

    fn new(session: Arc<Session>, element: Element, attributes: &KernelContext) -> Result<Self> {
        let lying = if IS_LAST { Lying::ChannelsLast } else { Lying::ChannelsFirst };
        let window = Window::read(attributes)?;
        Ok(ConvWeightGrad { of: Convolution { session, element, kind: Kind::Weights, lying, window }, plan: Kept::NONE })
    }

    fn run(&mut self, cx: &ComputeContext) -> Result<()> {
        let (x, dy, stream) = (input(cx, 0)?, input(cx, 1)?, stream(cx)?);
        let handle = self.of.session.cudnn(stream)?;
        let plan = self.of.plan(&mut self.plan, handle, [x.image(self.of.lying)?, dy.image(self.of.lying)?])?;
        let dw = output(cx, 0, &plan.weights)?;
        plan.run(handle, stream, Tensors { x: x.address, y: dy.address, w: dw })
    }
}
