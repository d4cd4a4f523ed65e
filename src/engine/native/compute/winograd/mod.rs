//! Convolutions with 3×3 kernels and unit strides through Winograd's minimal filtering.
//!
//! A tile of 4×4 outputs comes from a patch of 6×6 inputs: both it and the kernel become 36 numbers, of which each pair is
//! multiplied once, so that 36 products (for every pair of channels) do the work of 144. With `d` the patch, `g` the kernel,
//! `e` a tile of cotangents:
//!
//! ```text
//! y  = Aᵀ·[(G·g·Gᵀ) ⊙ (Bᵀ·d·B)]·A
//! dg = Gᵀ·[(A·e·Aᵀ) ⊙ (Bᵀ·d·B)]·G, summed over tiles
//! ```
//!
//! Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (CVPR 2016), F(4×4, 3×3) with the points 0, ±1, ±2, ∞; the
//! second line is the transpose of the first. The 36 products over channels are matrix products. Rounding errors are about ten
//! times those of the direct form (docs/performance.md).

mod convolve;
mod transforms;
mod weight_grad;

pub use self::convolve::{convolve, keeps_kernels};
pub use self::weight_grad::weight_grad;

use super::ConvGeometry;
use super::lanes::LANES;

/// Outputs of a tile and inputs of a patch along one axis.
const TILE: usize = 4;
const PATCH: usize = 6;
/// Weights of a kernel along one axis.
const TAPS: usize = 3;
const POINTS: usize = PATCH * PATCH;
/// Tasks that the work is cut into where it can be.
const TASKS: usize = 16;

/// Whether these forms compute the convolution.
pub fn covers(conv: &ConvGeometry) -> bool {
    conv.kernel == [3, 3]
        && conv.strides == [1, 1]
        && conv.dilations == [1, 1]
        && conv.groups == 1
        && conv.run == 1
        && conv.pads.iter().all(|&p| p <= 2)
        && conv.channels.is_multiple_of(LANES)
        && conv.features.is_multiple_of(LANES)
        && conv.output.iter().all(|&s| s >= TILE)
}
