//! Gaussian blur.

use super::operation::{Action, ChangeValues, Operate, Parameter};
use crate::data::random::Random;
use ndarray::{Array1, ArrayViewMut3, Axis, s};

/// torchvision's `GaussianBlur`, now and then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blur {
    /// How often.
    pub probability: f32,
    /// The widest Gaussian's standard deviation in pixels.
    pub most: f32,
    /// The narrowest one's.
    pub least: f32,
    /// Pixels of the kernel along a side, odd; 0: the odd number next to a tenth of the shorter side, at least 3.
    pub kernel: u32,
}

impl Default for Blur {
    fn default() -> Self {
        Blur { probability: 0.5, most: 2.0, least: 0.1, kernel: 0 }
    }
}

impl Operate for Blur {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("probability", &mut self.probability, [0.0, 1.0], "how often").always(),
            Parameter::number("most", &mut self.most, [0.01, 50.0], "largest standard deviation, in pixels"),
            Parameter::number("least", &mut self.least, [0.01, 50.0], "smallest standard deviation"),
            Parameter::whole("kernel", &mut self.kernel, [0, 101], "side of the kernel, odd; 0: about a tenth of the shorter side"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Values(self)
    }

    fn conflict(&self) -> Option<String> {
        if self.least > self.most {
            return Some(format!("least {} is above most {}", self.least, self.most));
        }
        (self.kernel > 0 && self.kernel.is_multiple_of(2)).then(|| format!("a kernel of {} has no middle: give an odd number", self.kernel))
    }
}

impl ChangeValues for Blur {
    fn change(&self, planes: ArrayViewMut3<f32>, random: &mut Random) {
        if random.chance(self.probability) {
            let sigma = random.range(self.least, self.most);
            let shorter = planes.len_of(Axis(1)).min(planes.len_of(Axis(2)));
            let kernel = if self.kernel > 0 { self.kernel as usize } else { (shorter / 10 / 2 * 2 + 1).max(3) };
            smooth(planes, kernel, sigma);
        }
    }
}

/// Along rows and columns with the Gaussian's values; beyond the border the image is mirrored, which is why the kernel is at most twice as wide as
/// the image, less one.
pub(super) fn smooth(mut planes: ArrayViewMut3<f32>, kernel: usize, sigma: f32) {
    for axis in [1, 2] {
        let size = planes.len_of(Axis(axis));
        let radius = (kernel / 2).min(size.saturating_sub(1));
        let mut weights: Vec<f32> = (0..=2 * radius).map(|i| libm::expf(-0.5 * ((i as f32 - radius as f32) / sigma).powi(2))).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        let mut line = Array1::<f32>::zeros(size + 2 * radius);
        for mut lane in planes.lanes_mut(Axis(axis)) {
            line.slice_mut(s![radius..radius + size]).assign(&lane);
            for i in 0..radius {
                line[radius - 1 - i] = lane[i + 1];
                line[radius + size + i] = lane[size - 2 - i];
            }
            for (to, window) in lane.iter_mut().zip(line.windows(2 * radius + 1)) {
                *to = window.iter().zip(&weights).map(|(v, w)| v * w).sum();
            }
        }
    }
}
