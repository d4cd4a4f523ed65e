//! The gradient of a convolution's weights, by cuDNN.

use super::super::native::{Window, is_plain};
use super::device::Session;
use super::library::{FilterAlgorithm, Handle};
use super::ports::{input, output, stream};
use super::source::Element;
use crate::ir::{DType, Node as GraphNode};
use crate::ops::conv;
use crate::pass::{Extras, Kernel as Row, Port, Replaces};
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::{Error, Result};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

/// Bytes that an algorithm may work in.
const MEMORY: usize = 1 << 30;
/// `CUDNN_TENSOR_NCHW`.
const NCHW: i32 = 0;
/// `CUDNN_CROSS_CORRELATION`, which is what ONNX calls a convolution.
const CROSS_CORRELATION: i32 = 1;
/// `CUDNN_DEFAULT_MATH`, which may round factors of float32 to TF32; `CUDNN_TENSOR_OP_MATH`; `CUDNN_FMA_MATH`, which may not.
const MATH: [i32; 3] = [0, 1, 3];
/// `CUDNN_DETERMINISTIC`.
const DETERMINISTIC: i32 = 1;
/// Algorithms that cuDNN is asked for.
const ALGORITHMS: usize = 8;

const fn row(name: &'static str) -> Row {
    Row {
        name,
        replaces: Replaces::Function(&conv::WEIGHT_GRAD),
        covers: |n| is_covered(n.node),
        inputs: &[Port::Plain, Port::Plain],
        outputs: &[Port::Plain],
        extras: Extras::NONE,
    }
}

/// `(x, dy) → dw` of each type; `dw` is `[O, C/group, kh, kw]`. Attributes of the convolution.
pub static ROWS: [(DType, Row); 3] =
    [(DType::F32, row("ConvWeightGrad")), (DType::F16, row("ConvWeightGradF16")), (DType::BF16, row("ConvWeightGradBf16"))];

/// cuDNN pads both ends alike.
fn is_covered(node: &GraphNode) -> bool {
    let pads = node.ints("pads");
    is_plain(node) && matches!(pads, [] | [_, _, _, _]) && pads.iter().take(2).eq(pads.iter().skip(2))
}

/// One of the operators, for a session.
pub struct ConvWeightGrad {
    session: Arc<Session>,
    name: &'static str,
    element: Element,
}

impl ConvWeightGrad {
    /// All of them.
    pub fn all(session: &Arc<Session>) -> impl Iterator<Item = ConvWeightGrad> {
        ROWS.iter()
            .filter_map(|(ty, row)| Some(ConvWeightGrad { session: Arc::clone(session), name: row.name, element: Element::of(*ty)? }))
    }
}

pub struct Node {
    session: Arc<Session>,
    element: Element,
    window: Window,
    plan: Option<Plan>,
}

/// Descriptions of tensors of these sizes, and the algorithm for them.
struct Plan {
    session: Arc<Session>,
    sizes: [[i32; 4]; 2],
    x: usize,
    dy: usize,
    dw: usize,
    convolution: usize,
    algorithm: i32,
    bytes: usize,
    shape: Vec<usize>,
}

impl Operator for ConvWeightGrad {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(super::PROVIDER)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(self.element.ort()), OperatorInput::required(self.element.ort())]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.element.ort())]
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node> {
        Ok(Node { session: Arc::clone(&self.session), element: self.element, window: Window::read(attributes)?, plan: None })
    }
}

impl Kernel for Node {
    fn compute(&mut self, cx: &ComputeContext) -> Result<()> {
        let (x, dy, stream) = (input(cx, 0)?, input(cx, 1)?, stream(cx)?);
        let sizes = [x.image()?, dy.image()?];
        let handle = self.session.cudnn(stream)?;
        if self.plan.as_ref().is_none_or(|plan| plan.sizes != sizes) {
            self.plan = Some(self.prepare(handle, sizes)?);
        }
        let Some(plan) = &self.plan else { return Ok(()) };
        let dw = output(cx, 0, &plan.shape)?;
        let memory = if plan.bytes > 0 { self.session.memory(plan.bytes)? } else { 0 };
        let (one, zero) = (1.0f32, 0.0f32);
        let number = |n: &f32| std::ptr::from_ref(n).cast::<c_void>();
        // SAFETY: the descriptions are of these tensors, the device's memory has as many bytes as the algorithm wants, and factors are float32 for all of these types.
        let status = unsafe {
            (self.session.libraries.cudnn.cudnnConvolutionBackwardFilter)(
                handle,
                number(&one),
                plan.x as Handle,
                x.address,
                plan.dy as Handle,
                dy.address,
                plan.convolution as Handle,
                plan.algorithm,
                memory,
                plan.bytes,
                number(&zero),
                plan.dw as Handle,
                dw,
            )
        };
        self.session.libraries.convolved("compute the gradient of a convolution's weights", status)
    }
}

impl Node {
    /// `CUDNN_DATA_FLOAT`, `_HALF`, `_BFLOAT16`.
    fn data_type(&self) -> i32 {
        match self.element {
            Element::F16 => 2,
            Element::Bf16 => 9,
            _ => 0,
        }
    }

    fn prepare(&self, handle: Handle, sizes: [[i32; 4]; 2]) -> Result<Plan> {
        let libraries = &self.session.libraries;
        let (cudnn, ty) = (&libraries.cudnn, self.data_type());
        let [[n, c, h, w], [_, features, oh, ow]] = sizes;
        let number = |n: usize| i32::try_from(n).map_err(|_| Error::new("a convolution is larger than cuDNN takes"));
        let pair = |[a, b]: [usize; 2]| Ok::<_, Error>([number(a)?, number(b)?]);
        let ([kh, kw], [ph, pw]) = (pair(self.window.kernel)?, pair(self.window.pads)?);
        let ([sh, sw], [dh, dw]) = (pair(self.window.strides)?, pair(self.window.dilations)?);
        let groups = number(self.window.groups)?;
        let per_group = c.checked_div(groups).ok_or_else(|| Error::new("a convolution has no groups"))?;
        let shape: Vec<usize> = [features, per_group, kh, kw].iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        let session = Arc::clone(&self.session);
        let mut plan = Plan { session, sizes, x: 0, dy: 0, dw: 0, convolution: 0, algorithm: 0, bytes: 0, shape };
        let done = |status| libraries.convolved("describe a convolution", status);
        let mut made = null_mut();
        // SAFETY: each call writes a handle, which the plan destroys, or describes one that was made before.
        unsafe {
            done((cudnn.cudnnCreateTensorDescriptor)(&mut made))?;
            plan.x = made as usize;
            done((cudnn.cudnnSetTensor4dDescriptor)(made, NCHW, ty, n, c, h, w))?;
            done((cudnn.cudnnCreateTensorDescriptor)(&mut made))?;
            plan.dy = made as usize;
            done((cudnn.cudnnSetTensor4dDescriptor)(made, NCHW, ty, n, features, oh, ow))?;
            done((cudnn.cudnnCreateFilterDescriptor)(&mut made))?;
            plan.dw = made as usize;
            done((cudnn.cudnnSetFilter4dDescriptor)(made, ty, NCHW, features, per_group, kh, kw))?;
            done((cudnn.cudnnCreateConvolutionDescriptor)(&mut made))?;
            plan.convolution = made as usize;
            done((cudnn.cudnnSetConvolution2dDescriptor)(made, ph, pw, sh, sw, dh, dw, CROSS_CORRELATION, 0))?;
            done((cudnn.cudnnSetConvolutionGroupCount)(made, groups))?;
            let math = match self.element {
                Element::F32 if self.session.tf32 => MATH[0],
                Element::F32 => MATH[2],
                _ => MATH[1],
            };
            done((cudnn.cudnnSetConvolutionMathType)(made, math))?;
        }
        self.choose(handle, &mut plan)?;
        Ok(plan)
    }

    /// The fastest algorithm by cuDNN's own rules that gives the same bits each time. On an H100 none that it was let measure itself, nor one that adds in any order, made a step
    /// of ResNet-50 faster.
    fn choose(&self, handle: Handle, plan: &mut Plan) -> Result<()> {
        let libraries = &self.session.libraries;
        let cudnn = &libraries.cudnn;
        let (mut count, mut found) = (0, [FilterAlgorithm::default(); ALGORITHMS]);
        let [x, dy, convolution, dw] = [plan.x, plan.dy, plan.convolution, plan.dw].map(|h| h as Handle);
        // SAFETY: writes at most as many as it is given room for, and how many.
        let status = unsafe {
            (cudnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7)(
                handle,
                x,
                dy,
                convolution,
                dw,
                ALGORITHMS as i32,
                &mut count,
                found.as_mut_ptr(),
            )
        };
        libraries.convolved("choose an algorithm for the gradient of a convolution's weights", status)?;
        let usable = |a: &&FilterAlgorithm| a.status == 0 && a.determinism == DETERMINISTIC && a.memory <= MEMORY;
        let chosen = found.iter().take(usize::try_from(count).unwrap_or(0)).find(usable);
        let Some(chosen) = chosen else {
            return Err(Error::new(
                "cuDNN has no algorithm for the gradient of a convolution's weights that gives the same bits each time. Run with --kernels standard",
            ));
        };
        // SAFETY: sets a number of a description that was made before, and writes another.
        let status = unsafe {
            (cudnn.cudnnSetConvolutionMathType)(convolution, chosen.math_type);
            (cudnn.cudnnGetConvolutionBackwardFilterWorkspaceSize)(handle, x, dy, convolution, dw, chosen.algorithm, &mut plan.bytes)
        };
        libraries.convolved("say how much memory a convolution needs", status)?;
        plan.algorithm = chosen.algorithm;
        Ok(())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let cudnn = &self.session.libraries.cudnn;
        // SAFETY: each was made by its own function, and nothing uses it any more.
        unsafe {
            for tensor in [self.x, self.dy].into_iter().filter(|h| *h != 0) {
                (cudnn.cudnnDestroyTensorDescriptor)(tensor as Handle);
            }
            if self.dw != 0 {
                (cudnn.cudnnDestroyFilterDescriptor)(self.dw as Handle);
            }
            if self.convolution != 0 {
                (cudnn.cudnnDestroyConvolutionDescriptor)(self.convolution as Handle);
            }
        }
    }
}
