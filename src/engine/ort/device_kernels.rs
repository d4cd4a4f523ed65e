//! The native kernels for CUDA, as far as they are wanted and their libraries are there.

use super::super::cuda::CudaKernels;
use super::super::options::Kernels;
use super::cuda::{Cuda, Obstacle};
use crate::error::{Error, Result};
use crate::field::Field;

/// What was loaded, or what stands in the way; an error where nothing else will do.
pub(super) fn load(cuda: &Cuda, kernels: Kernels) -> Result<Option<Result<CudaKernels, String>>> {
    if kernels == Kernels::Standard {
        return Ok(None);
    }
    let loaded = cuda.native().and_then(|paths| {
        CudaKernels::load(&paths).map_err(|what| Obstacle { what, advice: "see what `spgraph doctor` says of this machine".into() })
    });
    match (loaded, kernels) {
        (Err(Obstacle { what, advice }), Kernels::Native) => Err(Error::engine(format!(
            "{} native was asked for on CUDA: {what}. To mend it, {advice}, or leave the option out, for ONNX Runtime's own kernels",
            Field::KERNELS
        ))),
        (loaded, _) => Ok(Some(loaded.map_err(|obstacle| obstacle.what))),
    }
}
