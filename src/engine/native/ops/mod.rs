//! The native operators: what ONNX Runtime calls, one file each.
//!
//! Each is a row of [`TABLE`]: which node of a graph it takes the place of, which of the node's tensors are images (they come and
//! go as `[N, H, W, C]`), and what it computes. Those with no source are put in by [`fuse`](super::fuse).

mod batch_norm;
mod batch_norm_frozen_affine_grad;
mod batch_norm_frozen_input_grad;
mod batch_norm_train;
mod batch_norm_train_grad;
mod channel_sum;
mod conv;
mod conv_input_grad;
mod conv_weight_grad;
mod global_average_pool;
mod layout;
mod max_pool;
mod max_pool_grad;
mod sgd_update;
mod window;

pub use self::layout::{TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
pub use self::sgd_update::SGD_UPDATE;

use super::compute::{Isa, Pool};
use super::graph::Editor;
use crate::ir::Domain;
use crate::onnx::pb::NodeProto;
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::DynTensorValueType;
use ort::value::TensorElementType::Float32;
use ort::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The domain of the native operators.
pub const DOMAIN: &str = Domain::Native.name();

/// Whether a tensor of an operator must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// An image, `[N, H, W, C]`.
    Image,
    Plain,
    /// An image that may be left out.
    OptionalImage,
    OptionalPlain,
    /// Any number of tensors, the last inputs.
    Any,
}

impl Port {
    pub fn is_image(self) -> bool {
        matches!(self, Port::Image | Port::OptionalImage)
    }

    fn is_optional(self) -> bool {
        matches!(self, Port::OptionalImage | Port::OptionalPlain)
    }
}

/// One native operator.
pub struct Native {
    pub name: &'static str,
    /// What it takes the place of: an operator of ONNX, or a function of the domain `ai.spgraph` without the number behind its name.
    pub replaces: Option<Replaces>,
    pub inputs: &'static [Port],
    pub outputs: &'static [Port],
    pub create: fn(&KernelContext) -> Result<Box<dyn Compute>>,
}

/// A node that a native operator takes the place of.
pub struct Replaces {
    /// Whether it is a function of the domain `ai.spgraph`.
    pub function: bool,
    pub op_type: &'static str,
    /// Whether the operator covers the node, whose tensors' ranks the editor knows.
    pub covers: fn(&Editor, &NodeProto) -> bool,
    /// The shape `[N, C, H, W]` of the node's first output, where that is an image and its sizes are known.
    pub shape: Option<InferShape>,
}

/// Infers the shape of a node's first output.
pub type InferShape = fn(&Editor, &NodeProto) -> Option<Vec<i64>>;

/// Every native operator.
pub const TABLE: &[Native] = &[
    batch_norm::BATCH_NORM,
    batch_norm_frozen_affine_grad::BATCH_NORM_FROZEN_AFFINE_GRAD,
    batch_norm_frozen_input_grad::BATCH_NORM_FROZEN_INPUT_GRAD,
    batch_norm_train::BATCH_NORM_TRAIN,
    batch_norm_train_grad::BATCH_NORM_TRAIN_GRAD,
    channel_sum::CHANNEL_SUM,
    conv::CONV,
    conv_input_grad::CONV_INPUT_GRAD,
    conv_weight_grad::CONV_WEIGHT_GRAD,
    global_average_pool::GLOBAL_AVERAGE_POOL,
    max_pool::MAX_POOL,
    max_pool_grad::MAX_POOL_GRAD,
    TO_CHANNELS_FIRST,
    TO_CHANNELS_LAST,
    SGD_UPDATE,
];

/// The native operator that takes the node's place.
pub fn find(editor: &Editor, node: &NodeProto) -> Option<&'static Native> {
    TABLE.iter().find(|native| {
        native.replaces.as_ref().is_some_and(|source| {
            let name = match node.domain() {
                "" if !source.function => node.op_type(),
                domain if source.function && domain == Domain::Function.name() => crate::operator::Function::base_name(node.op_type()),
                _ => return false,
            };
            name == source.op_type && (source.covers)(editor, node)
        })
    })
}

/// A native operator at one node.
pub trait Compute: Send {
    fn compute(&mut self, cx: &Context) -> Result<()>;
}

/// What a native operator computes with.
pub struct Context<'a> {
    cx: &'a ComputeContext,
    threads: usize,
    pub isa: Isa,
}

/// A tensor that came in.
pub struct Tensor<'a> {
    pub shape: Vec<usize>,
    pub data: &'a [f32],
}

impl<'a> Tensor<'a> {
    /// The sizes of an image `[N, H, W, C]`.
    pub fn image(&self) -> Result<[usize; 4]> {
        self.shape.as_slice().try_into().map_err(|_| Error::new(format!("an image [N, H, W, C] was expected, not {:?}", self.shape)))
    }

    /// The single element.
    pub fn scalar(&self) -> Result<f32> {
        match self.data {
            [one] => Ok(*one),
            _ => Err(Error::new(format!("one number was expected, not {:?}", self.shape))),
        }
    }
}

impl Context<'_> {
    /// Input `at`, which must be there.
    pub fn input(&self, at: usize) -> Result<Tensor<'_>> {
        self.optional(at)?.ok_or_else(|| Error::new(format!("input {at} is missing")))
    }

    /// Input `at`, where there is one.
    pub fn optional(&self, at: usize) -> Result<Option<Tensor<'_>>> {
        if at >= self.cx.num_inputs()? {
            return Ok(None);
        }
        let Some(value) = self.cx.input(at)? else { return Ok(None) };
        let (shape, data) = value.try_extract_tensor::<f32>()?;
        let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        // SAFETY: ONNX Runtime keeps a kernel's inputs where they are while it runs, longer than the value that refers to them.
        let data = unsafe { std::slice::from_raw_parts(data.as_ptr(), data.len()) };
        Ok(Some(Tensor { shape, data }))
    }

    /// Input `input` as far as its buffer is not that of output `output`, and the output, which has the input's shape.
    #[allow(clippy::mut_from_ref)]
    pub fn replaced(&self, input: usize, output: usize) -> Result<(Option<&[f32]>, &mut [f32])> {
        let value = self.cx.input(input)?.ok_or_else(|| Error::new(format!("input {input} is missing")))?;
        let value = value.downcast::<DynTensorValueType>()?;
        let shape: Vec<usize> = value.shape().iter().map(|&d| d as usize).collect();
        // Only the address: there must be no slice of a buffer that is written.
        let before = value.data_ptr().cast::<f32>();
        let after = self.output(output, &shape)?;
        // SAFETY: another buffer than the output's, with as many elements; ONNX Runtime keeps it while the kernel runs.
        let kept = (before != after.as_ptr()).then(|| unsafe { std::slice::from_raw_parts(before, after.len()) });
        Ok((kept, after))
    }

    /// Output `at`, made with that shape.
    #[allow(clippy::mut_from_ref)]
    pub fn output(&self, at: usize, shape: &[usize]) -> Result<&mut [f32]> {
        self.optional_output(at, shape)?.ok_or_else(|| Error::new(format!("output {at} is missing")))
    }

    /// Output `at`, where the node has it. Each is asked for once.
    #[allow(clippy::mut_from_ref)]
    pub fn optional_output(&self, at: usize, shape: &[usize]) -> Result<Option<&mut [f32]>> {
        if at >= self.cx.num_outputs()? {
            return Ok(None);
        }
        let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let Some(mut value) = self.cx.output(at, shape)? else { return Ok(None) };
        let (_, data) = value.try_extract_tensor_mut::<f32>()?;
        let (start, len) = (data.as_mut_ptr(), data.len());
        // SAFETY: the buffer is ONNX Runtime's and stays while the kernel runs; every kernel asks for each output once.
        Ok(Some(unsafe { std::slice::from_raw_parts_mut(start, len) }))
    }
}

impl Pool for Context<'_> {
    fn run(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.spread(tasks, false, work);
    }

    fn run_back(&self, tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        self.spread(tasks, true, work);
    }
}

impl Context<'_> {
    /// Runs tasks on ONNX Runtime's own threads. Each has a contiguous part of them, the same for every operator, so that it finds in
    /// its caches the images that it wrote before; when it is through, it helps with the others' parts.
    fn spread(&self, tasks: usize, back: bool, work: &(dyn Fn(usize) + Sync)) {
        let workers = self.threads.min(tasks).max(1);
        let start = |part: usize| part * tasks / workers;
        let done: Vec<AtomicUsize> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        let failed = AtomicBool::new(false);
        let caller = std::thread::current().id();
        let drain = |_| {
            // ONNX Runtime's threads must not unwind; the calling one does, below.
            let result = catch_unwind(AssertUnwindSafe(|| {
                let own = if std::thread::current().id() == caller { 0 } else { seat(workers) };
                for part in (0..workers).map(|step| (own + step) % workers) {
                    loop {
                        let nth = done[part].fetch_add(1, Ordering::Relaxed);
                        if nth >= start(part + 1) - start(part) {
                            break;
                        }
                        work(if back { start(part + 1) - 1 - nth } else { start(part) + nth });
                    }
                }
            }));
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
        };
        if workers <= 1 || self.cx.par_for(workers, workers, drain).is_err() {
            drain(0);
        }
        assert!(!failed.load(Ordering::Relaxed), "a task of a native kernel failed");
    }
}

/// Which of `workers` parts a thread begins with that is not the calling one: always the same, and mostly another for every thread.
fn seat(workers: usize) -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SEAT: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    1 + SEAT.with(|seat| seat % (workers - 1).max(1))
}

/// A row of the table as ONNX Runtime wants it.
struct Registered {
    native: &'static Native,
    threads: usize,
    isa: Isa,
}

struct Node {
    compute: Box<dyn Compute>,
    threads: usize,
    isa: Isa,
}

impl Kernel for Node {
    /// A broken assertion of a kernel fails the run; unwinding into ONNX Runtime would end the process.
    fn compute(&mut self, cx: &ComputeContext) -> Result<()> {
        let cx = Context { cx, threads: self.threads, isa: self.isa };
        let result = catch_unwind(AssertUnwindSafe(|| self.compute.compute(&cx)));
        result.unwrap_or_else(|_| Err(Error::new("a native kernel failed; this is a bug of spgraph. Run with --kernels standard")))
    }
}

impl Operator for Registered {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.native.name
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        self.native.inputs.iter().map(|port| match port {
            Port::Any => OperatorInput::variadic(0).homogenous(Float32),
            port if port.is_optional() => OperatorInput::optional(Float32),
            _ => OperatorInput::required(Float32),
        })
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        self.native
            .outputs
            .iter()
            .map(|p| if p.is_optional() { OperatorOutput::optional(Float32) } else { OperatorOutput::required(Float32) })
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<Node> {
        Ok(Node { compute: (self.native.create)(attributes)?, threads: self.threads, isa: self.isa })
    }
}

/// All native operators, for a session with that many threads.
pub fn domain(threads: usize) -> Result<OperatorDomain> {
    let isa = Isa::detect();
    TABLE.iter().try_fold(OperatorDomain::new(DOMAIN)?, |domain, native| domain.add(Registered { native, threads, isa }))
}
