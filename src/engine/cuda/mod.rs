//! Native kernels for CUDA: operators of our own, registered with ONNX Runtime's CUDA provider, in the place of those nodes and functions of a graph that they cover.
//! A graph never needs them. NVIDIA's libraries are found when the program runs; without them the provider's own kernels compute.
//!
//! [`library`] has the functions of NVIDIA's libraries, [`device`] what a session shares, [`source`] the CUDA C that is compiled, and the operators one file each.

// The one purpose of this folder is to call NVIDIA's libraries; each unsafe block says why it is sound.
mod conv;
mod conv_input_grad;
mod conv_weight_grad;
#[allow(unsafe_code)]
mod convolution;
#[allow(unsafe_code)]
mod device;
mod each;
mod elementwise;
mod global_average_pool;
#[cfg(test)]
mod host;
mod kept;
mod layout;
#[allow(unsafe_code)]
mod library;
mod max_pool;
mod max_pool_grad;
mod pool;
mod ports;
mod source;
mod spread_pixel;
mod summing;
mod typed;

pub use self::library::Paths;

use self::conv::Conv;
use self::conv_input_grad::ConvInputGrad;
use self::conv_weight_grad::ConvWeightGrad;
use self::device::Session;
use self::elementwise::ELEMENTS;
use self::global_average_pool::GlobalAveragePool;
use self::layout::Move;
use self::library::Libraries;
use self::max_pool::MaxPool;
use self::max_pool_grad::MaxPoolGrad;
use self::spread_pixel::SpreadPixel;
use self::typed::{Entry, entry};
use crate::error::Result;
use crate::ir::{DType, Domain, Graph};
use crate::ops::batch_norm;
use crate::pass::{
    self, ApartBias, ChannelsLast, FuseExpressions, FuseSums, Inline, InlineOthers, Kernel, Pass, PlaceKernels, PlainOperators,
    RepeatCheap, Replaces, RestoreOperators,
};
use ort::operator::OperatorDomain;
use std::sync::Arc;

/// What ONNX Runtime calls the provider.
const PROVIDER: &str = "CUDAExecutionProvider";

/// Every operator.
static OPERATORS: [Entry; 11] = [
    entry::<Conv>(),
    entry::<ConvInputGrad>(),
    entry::<ConvWeightGrad<true>>(),
    entry::<ConvWeightGrad<false>>(),
    entry::<MaxPool>(),
    entry::<MaxPoolGrad>(),
    entry::<GlobalAveragePool>(),
    entry::<SpreadPixel>(),
    entry::<Move<true>>(),
    entry::<Move<false>>(),
    elementwise::ENTRY,
];

/// Every form of an operator, with the type of its tensors.
fn rows() -> impl Iterator<Item = (DType, &'static Kernel)> {
    OPERATORS.iter().flat_map(|(rows, _)| rows.iter()).map(|(ty, row)| (*ty, row))
}

/// The kernels for CUDA, whose libraries are loaded.
#[derive(Clone)]
pub struct CudaKernels {
    libraries: Arc<Libraries>,
}

impl std::fmt::Debug for CudaKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CudaKernels")
    }
}

impl CudaKernels {
    /// Loads NVIDIA's libraries; says what is missing.
    pub fn load(paths: &Paths) -> std::result::Result<CudaKernels, String> {
        Ok(CudaKernels { libraries: Arc::new(Libraries::load(paths)?) })
    }

    /// The operators, for one session.
    pub fn domain(&self, tf32: bool) -> ort::Result<OperatorDomain> {
        let session = Arc::new(Session::new(Arc::clone(&self.libraries), tf32));
        OPERATORS.iter().try_fold(OperatorDomain::new(Domain::Native.name())?, |domain, (_, add)| add(domain, &session))
    }
}

/// The graph with these operators; it has no function any more. With `tf32`, factors of float32 may be rounded to 10 bits of mantissa.
///
/// Images have their channels last where tensor cores compute with them, which want them so: in half precision and TF32. Elsewhere they lie as ONNX has them.
pub fn prepare(graph: &mut Graph, tf32: bool) -> Result<()> {
    let (on_images, others): (Vec<_>, Vec<_>) = rows().partition(|(_, row)| row.has_images());
    let suits = |(ty, row): &(DType, &Kernel)| *ty != DType::F32 || tf32 || matches!(row.replaces, Replaces::Nothing);
    let on_images: Vec<_> = on_images.into_iter().filter(suits).collect();
    let (all, kept): (Vec<_>, Vec<_>) = (rows().map(|(_, row)| row).collect(), on_images.iter().map(|(_, row)| *row).collect());
    let images = layout::images();
    let passes: [&dyn Pass; 10] = [
        // Alternatives are chosen for the processor's kernels.
        &RestoreOperators,
        // What it computes for each element goes into expressions.
        &PlainOperators(&[batch_norm::INFERENCE]),
        &ApartBias,
        &InlineOthers { kernels: &kept },
        &ChannelsLast { kernels: &on_images, images: &images },
        &PlaceKernels { kernels: &others },
        &Inline,
        &RepeatCheap,
        &FuseExpressions { elements: &ELEMENTS, kernels: &all },
        &FuseSums { elements: &ELEMENTS },
    ];
    pass::apply(graph, &passes)
}

#[cfg(test)]
mod tests;
