//! Native kernels for CUDA: operators of our own, registered with ONNX Runtime's CUDA provider, in the place of those nodes and functions of a graph that they cover.
//! A graph never needs them. NVIDIA's libraries are found when the program runs; without them the provider's own kernels compute.
//!
//! [`library`] has the functions of NVIDIA's libraries, [`device`] what a session shares, [`source`] the CUDA C that is compiled, and the operators one file each.

// The one purpose of this folder is to call NVIDIA's libraries; each unsafe block says why it is sound.
mod conv_weight_grad;
mod device;
mod elementwise;
mod library;
mod ports;
mod source;

pub use self::library::Paths;

use self::conv_weight_grad::ConvWeightGrad;
use self::device::Session;
use self::elementwise::{ELEMENTS, Elementwise};
use self::library::Libraries;
use crate::error::Result;
use crate::ir::{Domain, Graph};
use crate::ops::batch_norm;
use crate::pass::{self, FuseExpressions, FuseSums, Inline, Kernel, Pass, PlaceKernels, PlainOperators, RepeatWidening, RestoreOperators};
use ort::operator::OperatorDomain;
use std::sync::Arc;

/// What ONNX Runtime calls the provider.
const PROVIDER: &str = "CUDAExecutionProvider";

/// Every operator as passes know it.
fn rows() -> Vec<&'static Kernel> {
    conv_weight_grad::ROWS.iter().map(|(_, row)| row).chain(elementwise::rows()).collect()
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
        let domain = ConvWeightGrad::all(&session).try_fold(domain, |domain, operator| domain.add(operator))?;
        Elementwise::all(&session).try_fold(domain, |domain, operator| domain.add(operator))
    }
}

/// The graph with these operators; it has no function any more.
pub fn prepare(graph: &mut Graph) -> Result<()> {
    let rows = rows();
    let passes: [&dyn Pass; 7] = [
        // Alternatives are chosen for the processor's kernels.
        &RestoreOperators,
        &PlaceKernels { kernels: &conv_weight_grad::ROWS },
        // What it computes for each element goes into expressions.
        &PlainOperators(&[batch_norm::INFERENCE]),
        &Inline,
        &RepeatWidening,
        &FuseExpressions { elements: &ELEMENTS, kernels: &rows },
        &FuseSums { elements: &ELEMENTS },
    ];
    pass::apply(graph, &passes)
}

#[cfg(test)]
mod tests;
