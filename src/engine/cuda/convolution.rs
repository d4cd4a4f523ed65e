//! Convolutions and their gradients by cuDNN: how a node's is described to it, the algorithm it takes, and a call.

use super::super::native::{Window, is_plain};
use super::device::Session;
use super::kept::Kept;
use super::layout::{Order, Transposed};
use super::library::{Address, Algorithm, Cudnn, Handle, Status};
use super::ports::Lying;
use super::source::Element;
use crate::field::Field;
use crate::ir::Node;
use ort::{Error, Result};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// Bytes that an algorithm may work in.
const MEMORY: usize = 1 << 30;
/// Where memory that an algorithm works in begins: at a multiple of as many bytes.
const ALIGNMENT: usize = 256;
/// `CUDNN_CROSS_CORRELATION`, which is what ONNX calls a convolution.
const CROSS_CORRELATION: i32 = 1;
/// `CUDNN_DEFAULT_MATH`, which may round factors of float32 to TF32; `CUDNN_TENSOR_OP_MATH`; `CUDNN_FMA_MATH`, which may not.
const MATH: [i32; 3] = [0, 1, 3];
/// `CUDNN_DETERMINISTIC`.
const DETERMINISTIC: i32 = 1;
/// Algorithms that cuDNN is asked for.
const ALGORITHMS: usize = 8;

/// cuDNN pads both ends alike.
pub fn is_covered(node: &Node) -> bool {
    let pads = node.ints("pads");
    is_plain(node) && matches!(pads, [] | [_, _, _, _]) && pads.iter().take(2).eq(pads.iter().skip(2))
}

/// Whether it is known to be covered with channels last: others than those of whole channels and of windows without holes have not run on a device so, and stay as ONNX has them.
pub fn is_covered_last(node: &Node) -> bool {
    is_covered(node) && node.int("group", 1) == 1 && node.ints("dilations").iter().all(|&d| d == 1)
}

/// What a node computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `y` of `x` and the weights.
    Forward,
    /// The gradient of `x`, of that of `y` and the weights.
    Input,
    /// The gradient of the weights, of `x` and the gradient of `y`.
    Weights,
}

/// A node's own.
#[derive(Debug, Clone)]
pub struct Convolution {
    pub session: Arc<Session>,
    pub element: Element,
    pub kind: Kind,
    pub lying: Lying,
    pub window: Window,
}

/// Sizes of the images before and behind a convolution, `[N, C, H, W]` however they lie.
pub type Sizes = [[usize; 4]; 2];

/// Addresses of the image before, the image behind and the weights, or of their gradients.
#[derive(Debug, Clone, Copy)]
pub struct Tensors {
    pub x: Address,
    pub y: Address,
    pub w: Address,
}

/// Descriptions of tensors of these sizes, and the algorithm for them.
pub struct ConvolutionPlan {
    of: Convolution,
    sizes: Sizes,
    /// The shape of the weights as the graph has them.
    pub weights: [usize; 4],
    x: usize,
    y: usize,
    w: usize,
    convolution: usize,
    algorithm: c_int,
    bytes: usize,
    /// Where weights have to be put in another order.
    order: Option<Transposed>,
}

/// The functions of cuDNN for one kind; the two that choose take the descriptions in the order of the data.
struct Functions {
    choose: unsafe extern "C" fn(Handle, Handle, Handle, Handle, Handle, c_int, *mut c_int, *mut Algorithm) -> Status,
    bytes: unsafe extern "C" fn(Handle, Handle, Handle, Handle, Handle, c_int, *mut usize) -> Status,
}

impl Kind {
    fn functions(self, cudnn: &Cudnn) -> Functions {
        match self {
            Kind::Forward => {
                Functions { choose: cudnn.cudnnGetConvolutionForwardAlgorithm_v7, bytes: cudnn.cudnnGetConvolutionForwardWorkspaceSize }
            }
            Kind::Input => Functions {
                choose: cudnn.cudnnGetConvolutionBackwardDataAlgorithm_v7,
                bytes: cudnn.cudnnGetConvolutionBackwardDataWorkspaceSize,
            },
            Kind::Weights => Functions {
                choose: cudnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7,
                bytes: cudnn.cudnnGetConvolutionBackwardFilterWorkspaceSize,
            },
        }
    }

    /// What messages call it.
    fn name(self) -> &'static str {
        match self {
            Kind::Forward => "a convolution",
            Kind::Input => "the gradient of a convolution's image",
            Kind::Weights => "the gradient of a convolution's weights",
        }
    }
}

impl Convolution {
    /// The plan for images of these sizes: the one that is kept, or a new one.
    pub fn plan<'p>(&self, kept: &'p mut Kept<Sizes, ConvolutionPlan>, handle: Handle, sizes: Sizes) -> Result<&'p ConvolutionPlan> {
        kept.get(sizes, || self.prepare(handle, sizes))
    }

    /// `CUDNN_DATA_FLOAT`, `_HALF`, `_BFLOAT16`.
    fn data_type(&self) -> c_int {
        match self.element {
            Element::F16 => 2,
            Element::Bf16 => 9,
            _ => 0,
        }
    }

    fn prepare(&self, handle: Handle, sizes: Sizes) -> Result<ConvolutionPlan> {
        let libraries = &self.session.libraries;
        let (cudnn, ty, format) = (&libraries.cudnn, self.data_type(), self.lying as c_int);
        let [[_, channels, ..], [_, features, ..]] = sizes;
        let Window { kernel: [kh, kw], .. } = self.window;
        let per_group = channels.checked_div(self.window.groups).ok_or_else(|| Error::new("a convolution has no groups"))?;
        let weights = [features, per_group, kh, kw];
        let number = |n: usize| c_int::try_from(n).map_err(|_| Error::new("a convolution is larger than cuDNN takes"));
        let four = |[a, b, c, d]: [usize; 4]| Ok::<_, Error>([number(a)?, number(b)?, number(c)?, number(d)?]);
        let pair = |[a, b]: [usize; 2]| Ok::<_, Error>([number(a)?, number(b)?]);
        let ([x, y], w) = ([four(sizes[0])?, four(sizes[1])?], four(weights)?);
        let ([ph, pw], [sh, sw], [dh, dw]) = (pair(self.window.pads)?, pair(self.window.strides)?, pair(self.window.dilations)?);
        let groups = number(self.window.groups)?;
        let places = kh.saturating_mul(kw);
        let apart = self.lying == Lying::ChannelsLast && places > 1 && per_group > 1;
        let to_last = self.kind != Kind::Weights;
        let order = Order { outer: features, channels: per_group, places, to_last };
        let order = apart.then(|| order.prepare(&self.session, self.element)).transpose()?;
        let mut plan =
            ConvolutionPlan { of: self.clone(), sizes, weights, x: 0, y: 0, w: 0, convolution: 0, algorithm: 0, bytes: 0, order };
        let done = |status| libraries.convolved("describe a convolution", status);
        let mut made = null_mut();
        // SAFETY: each call writes a handle, which the plan destroys, or describes one that was made before.
        unsafe {
            for (place, [n, c, h, w]) in [(&mut plan.x, x), (&mut plan.y, y)] {
                done((cudnn.cudnnCreateTensorDescriptor)(&mut made))?;
                *place = made as usize;
                done((cudnn.cudnnSetTensor4dDescriptor)(made, format, ty, n, c, h, w))?;
            }
            done((cudnn.cudnnCreateFilterDescriptor)(&mut made))?;
            plan.w = made as usize;
            let [o, c, h, w] = w;
            done((cudnn.cudnnSetFilter4dDescriptor)(made, ty, format, o, c, h, w))?;
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
        plan.choose(handle)?;
        Ok(plan)
    }
}

impl ConvolutionPlan {
    /// The descriptions as the functions of the kind take them.
    fn described(&self) -> [Handle; 4] {
        let in_order = match self.of.kind {
            Kind::Forward => [self.x, self.w, self.convolution, self.y],
            Kind::Input => [self.w, self.y, self.convolution, self.x],
            Kind::Weights => [self.x, self.y, self.convolution, self.w],
        };
        in_order.map(|h| h as Handle)
    }

    /// The fastest algorithm by cuDNN's own rules that gives the same bits each time. On an H100 none that it was let measure itself, nor one that adds in any order, made a step
    /// of ResNet-50 faster.
    fn choose(&mut self, handle: Handle) -> Result<()> {
        let libraries = &self.of.session.libraries;
        let functions = self.of.kind.functions(&libraries.cudnn);
        let (mut count, mut found) = (0, [Algorithm::default(); ALGORITHMS]);
        let [a, b, convolution, c] = self.described();
        // SAFETY: writes at most as many as it is given room for, and how many.
        let status = unsafe { (functions.choose)(handle, a, b, convolution, c, ALGORITHMS as c_int, &mut count, found.as_mut_ptr()) };
        let what = self.of.kind.name();
        libraries.convolved(&format!("choose an algorithm for {what}"), status)?;
        let usable = |a: &&Algorithm| a.status == 0 && a.determinism == DETERMINISTIC && a.memory <= MEMORY;
        let chosen = found.iter().take(usize::try_from(count).unwrap_or(0)).find(usable);
        let Some(chosen) = chosen else {
            return Err(Error::new(format!(
                "cuDNN has no algorithm for {what} that gives the same bits each time ({:?}, {:?}). Run with {} standard",
                self.of,
                self.sizes,
                Field::KERNELS
            )));
        };
        // SAFETY: sets a number of a description that was made before, and writes another.
        let status = unsafe {
            (libraries.cudnn.cudnnSetConvolutionMathType)(convolution, chosen.math_type);
            (functions.bytes)(handle, a, b, convolution, c, chosen.algorithm, &mut self.bytes)
        };
        self.algorithm = chosen.algorithm;
        libraries.convolved("say how much memory a convolution needs", status)
    }

    /// Computes it on the stream that cuDNN's handle works on.
    pub fn run(&self, handle: Handle, stream: Handle, tensors: Tensors) -> Result<()> {
        let (session, kind) = (&self.of.session, self.of.kind);
        let apart = self.order.as_ref().map_or(0, |order| order.bytes.next_multiple_of(ALIGNMENT));
        let memory = match self.bytes.saturating_add(apart) {
            0 => 0,
            bytes => session.memory(bytes)?,
        };
        // What is in another order comes first, then what the algorithm works in.
        let w = if apart > 0 { memory } else { tensors.w };
        let space = if self.bytes > 0 { memory.saturating_add(apart as Address) } else { 0 };
        if let Some(order) = self.order.as_ref().filter(|_| kind != Kind::Weights) {
            order.run(session, tensors.w, w, stream)?;
        }
        let (one, zero) = (1.0f32, 0.0f32);
        let number = |n: &f32| std::ptr::from_ref(n).cast::<c_void>();
        let (one, zero, cudnn) = (number(&one), number(&zero), &session.libraries.cudnn);
        let [a, b, convolution, c] = self.described();
        let (algorithm, bytes) = (self.algorithm, self.bytes);
        let Tensors { x, y, .. } = tensors;
        // SAFETY: the descriptions are of these tensors, the device's memory has as many bytes as the algorithm wants, and factors are float32 for all of these types.
        let status = unsafe {
            match kind {
                Kind::Forward => (cudnn.cudnnConvolutionForward)(handle, one, a, x, b, w, convolution, algorithm, space, bytes, zero, c, y),
                Kind::Input => {
                    (cudnn.cudnnConvolutionBackwardData)(handle, one, a, w, b, y, convolution, algorithm, space, bytes, zero, c, x)
                }
                Kind::Weights => {
                    (cudnn.cudnnConvolutionBackwardFilter)(handle, one, a, x, b, y, convolution, algorithm, space, bytes, zero, c, w)
                }
            }
        };
        session.libraries.convolved(&format!("compute {}", kind.name()), status)?;
        match &self.order {
            Some(order) if kind == Kind::Weights => order.run(session, w, tensors.w, stream),
            _ => Ok(()),
        }
    }
}

impl Drop for ConvolutionPlan {
    fn drop(&mut self) {
        let cudnn = &self.of.session.libraries.cudnn;
        // SAFETY: each was made by its own function, and nothing uses it any more.
        unsafe {
            for tensor in [self.x, self.y].into_iter().filter(|h| *h != 0) {
                (cudnn.cudnnDestroyTensorDescriptor)(tensor as Handle);
            }
            if self.w != 0 {
                (cudnn.cudnnDestroyFilterDescriptor)(self.w as Handle);
            }
            if self.convolution != 0 {
                (cudnn.cudnnDestroyConvolutionDescriptor)(self.convolution as Handle);
            }
        }
    }
}
