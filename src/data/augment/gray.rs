//! Without colour.

use super::color::GREY;
use super::operation::{Action, ChangeValues, Operate, Parameter};
use crate::data::preprocess::weighted;
use crate::data::random::Random;
use ndarray::ArrayViewMut3;

/// torchvision's `RandomGrayscale`: three equal channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gray {
    /// How often.
    pub probability: f32,
}

impl Default for Gray {
    fn default() -> Self {
        Gray { probability: 0.1 }
    }
}

impl Operate for Gray {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![Parameter::number("probability", &mut self.probability, [0.0, 1.0], "how often").always()]
    }

    fn action(&self) -> Action<'_> {
        Action::Values(self)
    }
}

impl ChangeValues for Gray {
    fn change(&self, planes: ArrayViewMut3<f32>, random: &mut Random) {
        if random.chance(self.probability) {
            discolor(planes);
        }
    }
}

pub(super) fn discolor(mut planes: ArrayViewMut3<f32>) {
    let grey = weighted(planes.view(), GREY);
    planes.outer_iter_mut().for_each(|mut plane| plane.assign(&grey));
}
