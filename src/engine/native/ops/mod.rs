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
mod ports;
mod sgd_update;
mod window;

pub use self::layout::{TO_CHANNELS_FIRST, TO_CHANNELS_LAST};
pub use self::ports::{Inputs, Outputs};
pub use self::sgd_update::SGD_UPDATE;

use super::compute::{Cores, Isa};
use super::graph::Editor;
use crate::ir::Domain;
use crate::onnx::pb::NodeProto;
use ort::operator::{ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;
use ort::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    /// Computes the outputs from the inputs, which come in the order of the table's row.
    fn compute(&mut self, cores: &Cores, inputs: Inputs, outputs: Outputs) -> Result<()>;
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
        let cores = Cores::new(cx, self.threads, self.isa);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let (inputs, outputs) = ports::of(cx);
            self.compute.compute(&cores, inputs, outputs)
        }));
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
pub fn domain(threads: usize, isa: Isa) -> Result<OperatorDomain> {
    TABLE.iter().try_fold(OperatorDomain::new(DOMAIN)?, |domain, native| domain.add(Registered { native, threads, isa }))
}
