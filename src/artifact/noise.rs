//! Images to compare two networks with.

use crate::bundle::manifest::Preprocessing;
use crate::ir::{DType, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// Standard normal noise, about what normalised images are; about what pixels are, from 0 to 255, where the network takes those as they are.
pub(crate) fn noise(dtype: DType, shape: &[usize], preprocessing: &Preprocessing, random: &mut ChaCha8Rng) -> Tensor {
    let pixels = !dtype.is_float() || (preprocessing.scale == 255 && preprocessing.mean.iter().all(|&m| m == 0.0));
    // Box and Muller's.
    let mut uniform = || (random.next_u32() as f64 + 0.5) / 4_294_967_296.0;
    let mut normal = || (-2.0 * f64::ln(uniform())).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    let mut value = || if pixels { (128.0 + 64.0 * normal()).round().clamp(0.0, 255.0) } else { normal() };
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| value()).collect();
    Tensor::from_floats(dtype, shape, &values)
}
