//! What runs a bundle of mixed precision, and what doesn't.

use crate::bundle::GraphPrecision;
use crate::bundle::manifest::Manifest;
use crate::engine::{Device, EngineChoice, EngineOptions, Kernels, Precision};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::DType;

/// Fails where the engine of that kind, with these options, has no kernels for the bundle's precision, or another one is asked for.
pub fn check_precision(manifest: &Manifest, options: &EngineOptions, kind: EngineChoice) -> Result<()> {
    let precision = manifest.rewriting.as_ref().map_or(GraphPrecision::Float32, |r| r.options.precision);
    let Some(half) = precision.half() else { return Ok(()) };
    let refused = |why: String| Err(Error::option(Field::MIXED_PRECISION, format!(" {} {why}", precision.name())));
    if options.precision != Precision::Auto {
        return refused(format!(
            "is how the bundle's graphs were made, and {} here asks native kernels for another: leave it out, or rewrite the model again in float32",
            Field::PRECISION
        ));
    }
    if options.kernels == Kernels::Native && options.device == Device::Cpu {
        return refused(format!(
            "has no native kernels, which {} native asks for: they compute in float32, or with {} bf16",
            Field::KERNELS,
            Field::PRECISION
        ));
    }
    let instead = format!("Take {} ort", Field::ENGINE);
    match (kind, precision.is_rounded(), half) {
        (EngineChoice::Tract, true, DType::F16) => Ok(()),
        (EngineChoice::Tract, ..) => refused(format!("is not for tract, which lacks operators of {half}. {instead}")),
        (_, false, DType::BF16) if options.device == Device::Cpu => refused(format!(
            "is not for ONNX Runtime's CPU provider, which has no kernels for bfloat16: take {} cuda, rewrite the model with rounded-bf16, which computes the \
             same numbers, or in float32 and train with {} bf16, which is faster on a processor",
            Field::DEVICE,
            Field::PRECISION
        )),
        _ => Ok(()),
    }
}
