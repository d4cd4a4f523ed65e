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
use self::elementwise::{ELEMENTS, Elementwise};
use self::global_average_pool::GlobalAveragePool;
use self::layout::Move;
use self::library::Libraries;
use self::max_pool::MaxPool;
use self::max_pool_grad::MaxPoolGrad;
use self::spread_pixel::SpreadPixel;
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

/// The operators on images with their channels last.
fn on_images() -> Vec<(DType, &'static Kernel)> {
    let tables: [&'static [(DType, Kernel)]; 9] = [
        &conv::LAST,
        &conv_input_grad::LAST,
        &conv_weight_grad::LAST,
        &max_pool::LAST,
        &max_pool_grad::LAST,
        &global_average_pool::LAST,
        &spread_pixel::LAST,
        &layout::TO_LAST,
        &layout::TO_FIRST,
    ];
    tables.into_iter().flatten().map(|(ty, row)| (*ty, row)).collect()
}

/// Every operator as passes know it.
fn rows() -> Vec<&'static Kernel> {
    let others = conv_weight_grad::ROWS.iter().map(|(_, row)| row).chain(elementwise::rows());
    on_images().into_iter().map(|(_, row)| row).chain(others).collect()
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
        let domain = OperatorDomain::new(Domain::Native.name())?;
        let domain = typed::all::<ConvWeightGrad<false>>(&session, &conv_weight_grad::ROWS).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<ConvWeightGrad<true>>(&session, &conv_weight_grad::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<Conv>(&session, &conv::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<ConvInputGrad>(&session, &conv_input_grad::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<MaxPool>(&session, &max_pool::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<MaxPoolGrad>(&session, &max_pool_grad::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<GlobalAveragePool>(&session, &global_average_pool::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<SpreadPixel>(&session, &spread_pixel::LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<Move<true>>(&session, &layout::TO_LAST).try_fold(domain, OperatorDomain::add)?;
        let domain = typed::all::<Move<false>>(&session, &layout::TO_FIRST).try_fold(domain, OperatorDomain::add)?;
        Elementwise::all(&session).try_fold(domain, OperatorDomain::add)
    }
}

/// The graph with these operators; it has no function any more. With `tf32`, factors of float32 may be rounded to 10 bits of mantissa.
///
/// Images have their channels last where tensor cores compute with them, which want them so: in half precision and TF32. Elsewhere they lie as ONNX has them.
pub fn prepare(graph: &mut Graph, tf32: bool) -> Result<()> {
    let (rows, on_images, images) = (rows(), on_images(), layout::images());
    let suits = |(ty, row): &(DType, &Kernel)| *ty != DType::F32 || tf32 || matches!(row.replaces, Replaces::Nothing);
    let on_images: Vec<_> = on_images.into_iter().filter(suits).collect();
    let kept: Vec<&Kernel> = on_images.iter().map(|(_, row)| *row).collect();
    let passes: [&dyn Pass; 10] = [
        // Alternatives are chosen for the processor's kernels.
        &RestoreOperators,
        // What it computes for each element goes into expressions.
        &PlainOperators(&[batch_norm::INFERENCE]),
        &ApartBias,
        &InlineOthers { kernels: &kept },
        &ChannelsLast { kernels: &on_images, images: &images },
        &PlaceKernels { kernels: &conv_weight_grad::ROWS },
        &Inline,
        &RepeatCheap,
        &FuseExpressions { elements: &ELEMENTS, kernels: &rows },
        &FuseSums { elements: &ELEMENTS },
    ];
    pass::apply(graph, &passes)
}

#[cfg(test)]
mod tests;
