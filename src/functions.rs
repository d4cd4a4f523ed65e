//! The one table of model-local functions: every larger unit that a rule, a loss, a penalty or an optimizer builds. Each is declared beside
//! the rule that builds it.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

use crate::loss::{self, binary_cross_entropy, bss, cross_entropy, delta, lwf, mean_squared_error};
use crate::operator::Function;
use crate::ops::blocks::pointwise;
use crate::ops::{
    activation, average_pool, batch_norm, clip, conv, dropout, erf, extremum, gelu, global_pool, hard_sigmoid, hard_swish, leaky_relu, lrn,
    max_pool, normalization, pow, prelu, reduce, reduce_formula, relu, resize, sigmoid, softmax, softplus, softsign, tanh,
};
use crate::optim::{adamw, clip as clip_norm, ema, lars, sgd, spd};
use crate::penalty::{self, gl_sp, gl_sp_fisher, l1_sp, l2, l2_sp, l2_sp_fisher};

/// Every function of the domain `ai.spgraph`.
pub static FUNCTIONS: &[&Function] = &[
    // Gradients
    &average_pool::GRAD,
    &batch_norm::FROZEN_AFFINE_GRAD,
    &batch_norm::FROZEN_INPUT_GRAD,
    &batch_norm::TRAIN_GRAD,
    &clip::GRAD,
    &conv::INPUT_GRAD,
    &conv::WEIGHT_GRAD,
    &erf::GRAD,
    &extremum::GRAD,
    &gelu::GRAD,
    &global_pool::MAX_GRAD,
    &hard_sigmoid::GRAD,
    &hard_swish::GRAD,
    &leaky_relu::GRAD,
    &lrn::GRAD,
    &max_pool::GRAD,
    &normalization::GRAD,
    &pointwise::GRAD,
    &pow::GRAD,
    &prelu::GRAD,
    &reduce::MAX_GRAD,
    &reduce_formula::GRAD,
    &relu::GRAD,
    &resize::GRAD,
    &sigmoid::GRAD,
    &softmax::GRAD,
    &softmax::LOG_GRAD,
    &softplus::GRAD,
    &softsign::GRAD,
    &tanh::GRAD,
    // Gradients of single samples
    &batch_norm::FROZEN_SAMPLE_GRAD,
    &conv::SAMPLE_GRAD,
    // The forward pass
    &activation::CELU.function,
    &activation::MISH.function,
    &activation::SWISH.function,
    &batch_norm::TRAIN,
    &dropout::INDICES,
    &dropout::KEY,
    &dropout::MASK,
    &dropout::TRAIN,
    &resize::RESIZE,
    &gelu::GELU,
    &lrn::FORWARD,
    &normalization::GROUP,
    &normalization::INSTANCE,
    &normalization::RMS,
    &reduce_formula::LOG_SUM_EXP,
    // Losses and regularizers
    &binary_cross_entropy::BINARY_CROSS_ENTROPY,
    &binary_cross_entropy::MULTI_LABEL,
    &binary_cross_entropy::WEIGHTED,
    &bss::PENALTY,
    &cross_entropy::CROSS_ENTROPY,
    &cross_entropy::WEIGHTED,
    &delta::PENALTY,
    &loss::ROW_COUNT,
    &loss::ROW_SHARES,
    &lwf::PENALTY,
    &mean_squared_error::MEAN_SQUARED_ERROR,
    &mean_squared_error::WEIGHTED,
    // Penalties
    &gl_sp::PENALTY,
    &gl_sp::PROX,
    &gl_sp::VALUE,
    &gl_sp_fisher::PENALTY,
    &l1_sp::PENALTY,
    &l1_sp::PROX,
    &l1_sp::VALUE,
    &l2::PENALTY,
    &l2_sp::PENALTY,
    &l2_sp_fisher::PENALTY,
    &penalty::DECOUPLED,
    // Updates
    &adamw::CORRECTIONS,
    &adamw::UPDATE,
    &clip_norm::COEFFICIENT,
    &ema::UPDATE,
    &lars::UPDATE,
    &sgd::UPDATE,
    &spd::PROJECTION,
];

/// The function that a model calls by `name`, with or without the number that tells its bodies apart.
pub fn find(name: &str) -> Option<&'static Function> {
    let base = Function::base_name(name);
    FUNCTIONS.iter().copied().find(|f| f.name == base)
}

#[cfg(test)]
mod tests;
