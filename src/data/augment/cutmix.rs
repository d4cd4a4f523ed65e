//! A part of another image.

use super::operation::{Action, Blend, MixBatch, Operate, Parameter};
use crate::data::random::Random;

/// Yun et al. (2019), as torchvision's `CutMix`: a box of the image is that of the one before it in the batch, and so much of its target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cutmix {
    /// α of Beta(α, α), from which the share outside the box is drawn.
    pub alpha: f32,
}

impl Default for Cutmix {
    fn default() -> Self {
        Cutmix { alpha: 1.0 }
    }
}

impl Operate for Cutmix {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![Parameter::number("alpha", &mut self.alpha, [0.001, 100.0], "α of Beta(α, α), from which the share is drawn").always()]
    }

    fn action(&self) -> Action<'_> {
        Action::Batch(self)
    }
}

/// The box about (`x`, `y`) that leaves `share` of the image, as far as it lies inside.
pub(super) fn cut(share: f64, (height, width): (usize, usize), (y, x): (usize, usize)) -> Blend {
    let half = 0.5 * (1.0 - share).max(0.0).sqrt();
    let (half_width, half_height) = ((half * width as f64) as usize, (half * height as f64) as usize);
    let (left, right) = (x.saturating_sub(half_width), (x + half_width).min(width));
    let (top, bottom) = (y.saturating_sub(half_height), (y + half_height).min(height));
    let inside = (right - left) * (bottom - top);
    Blend::Box { top, bottom, left, right, share: (1.0 - inside as f64 / (width * height).max(1) as f64) as f32 }
}

impl MixBatch for Cutmix {
    fn blend(&self, height: usize, width: usize, random: &mut Random) -> Blend {
        let share = random.beta(self.alpha.into());
        let x = random.below(width);
        cut(share, (height, width), (random.below(height), x))
    }
}
