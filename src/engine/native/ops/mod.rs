//! The native operators: what ONNX Runtime calls, one file each.
//!
//! Each is a row of [`TABLE`]: which node of a graph it takes the place of, which of the node's tensors are images (they come and
//! go as `[N, H, W, C]`), what it can do besides, and what it computes. The passes of [`crate::pass`] put them into a graph by what the rows say.

mod average_pool;
mod average_pool_grad;
mod batch_norm;
mod batch_norm_frozen_affine_grad;
mod batch_norm_frozen_input_grad;
mod batch_norm_train;
mod batch_norm_train_grad;
mod channel_sum;
mod conv;
mod conv_input_grad;
mod conv_weight_grad;
mod cut_channels;
mod elementwise;
mod global_average_pool;
mod join_channels;
mod layer_norm_grad;
mod layout;
mod max_pool;
mod max_pool_grad;
mod native;
mod pixel_sum;
#[allow(unsafe_code)]
mod ports;
mod register;
mod sgd_update;
mod shuffle_channels;
mod spread_pixel;
mod window;

pub use self::conv::pads;
pub use self::elementwise::{ELEMENTS, INSTRUCTIONS};
pub use self::max_pool::covers as pools;
pub use self::register::domain;
pub use self::spread_pixel::covers as spreads_pixel;
pub use self::window::{Window, is_plain, product};

use self::native::Native;
use crate::pass::Kernel;

/// Every native operator.
pub static TABLE: &[Native] = &[
    average_pool::AVERAGE_POOL,
    average_pool_grad::AVERAGE_POOL_GRAD,
    batch_norm::BATCH_NORM,
    batch_norm_frozen_affine_grad::BATCH_NORM_FROZEN_AFFINE_GRAD,
    batch_norm_frozen_input_grad::BATCH_NORM_FROZEN_INPUT_GRAD,
    batch_norm_train::BATCH_NORM_TRAIN,
    batch_norm_train_grad::BATCH_NORM_TRAIN_GRAD,
    channel_sum::CHANNEL_SUM,
    conv::CONV,
    conv_input_grad::CONV_INPUT_GRAD,
    conv_weight_grad::CONV_WEIGHT_GRAD,
    cut_channels::CUT_CHANNELS,
    cut_channels::TAKE_CHANNELS,
    elementwise::ELEMENTWISE,
    global_average_pool::GLOBAL_AVERAGE_POOL,
    join_channels::JOIN_CHANNELS,
    layer_norm_grad::LAYER_NORM_GRAD,
    layout::TO_FIRST,
    layout::TO_LAST,
    max_pool::MAX_POOL,
    max_pool_grad::MAX_POOL_GRAD,
    pixel_sum::PIXEL_MEAN,
    pixel_sum::PIXEL_SUM,
    sgd_update::SGD_UPDATE,
    shuffle_channels::SHUFFLE,
    spread_pixel::SPREAD_PIXEL,
];

/// The table as passes know it.
pub fn kernels() -> Vec<&'static Kernel> {
    TABLE.iter().map(|native| &native.kernel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions;
    use crate::ops::table;
    use crate::pass::{Port, Replaces};
    use std::collections::HashSet;

    /// What a kernel replaces exists: a renamed operator or function would silently leave its kernel unused.
    #[test]
    fn every_source_exists() {
        for kernel in kernels() {
            let exists = match kernel.replaces {
                Replaces::Operator(name) => table::find(name).is_some(),
                Replaces::Function(function) => functions::find(function.name) == Some(function),
                Replaces::Nothing => kernel.name.starts_with("ToChannels") || ["Elementwise", "ShuffleChannels"].contains(&kernel.name),
            };
            assert!(exists, "{} replaces {:?}, which is in no table", kernel.name, kernel.replaces);
            for function in kernel.extras.penalties.iter().flat_map(|p| p.functions) {
                assert_eq!(functions::find(function.name), Some(*function), "{}", kernel.name);
            }
        }
    }

    #[test]
    fn rows_are_sound() {
        let mut names = HashSet::new();
        for kernel in kernels() {
            assert!(names.insert(kernel.name), "two kernels are called {}", kernel.name);
            let (extras, input) = (kernel.extras, |i: usize| kernel.inputs[i]);
            let others = kernel.inputs.iter().position(|p| *p == Port::Others);
            assert!(others.is_none_or(|i| i + 1 == kernel.inputs.len()), "{}", kernel.name);
            for image in extras.addend.into_iter().chain(extras.mask) {
                assert_eq!(input(image), Port::OptionalImage, "{}", kernel.name);
            }
            assert!(
                !(extras.rectifies || extras.addend.is_some() || extras.mask.is_some()) || kernel.outputs[0].is_image(),
                "{}",
                kernel.name
            );
            if let Some((from, to)) = extras.channel_sums {
                assert!(input(from).is_image() && to + 1 == kernel.outputs.len() && !kernel.outputs[to].is_image(), "{}", kernel.name);
            }
            if let Some(adds) = extras.penalties {
                assert_eq!((adds.value + 1, input(adds.gradient)), (kernel.outputs.len(), Port::Plain), "{}", kernel.name);
                // Strength, starting point, Fisher information.
                assert!((adds.strength..adds.strength + 3).all(|i| input(i) == Port::OptionalPlain), "{}", kernel.name);
            }
            assert!(extras.replaces.is_empty() || others.is_some(), "{} cannot wait for those that read its inputs", kernel.name);
        }
    }
}
