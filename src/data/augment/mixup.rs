//! Sums of two images.

use super::operation::{Action, Blend, MixBatch, Operate, Parameter};
use crate::data::random::Random;

/// Zhang et al. (2018), as torchvision's `MixUp`: λ of an image and 1 − λ of the one before it in the batch, and so their targets; λ from
/// Beta(α, α), one for each batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixup {
    /// α: the larger, the more equal the two.
    pub alpha: f32,
}

impl Default for Mixup {
    fn default() -> Self {
        Mixup { alpha: 0.2 }
    }
}

impl Operate for Mixup {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![Parameter::number("alpha", &mut self.alpha, [0.001, 100.0], "α of Beta(α, α), from which the share is drawn").always()]
    }

    fn action(&self) -> Action<'_> {
        Action::Batch(self)
    }
}

impl MixBatch for Mixup {
    fn blend(&self, _: usize, _: usize, random: &mut Random) -> Blend {
        Blend::Sum(random.beta(self.alpha.into()) as f32)
    }
}
