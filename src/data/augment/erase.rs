//! A rectangle without an image.

use super::choice::Erased;
use super::operation::{Action, ChangeInput, Operate, Parameter};
use crate::data::random::Random;
use ndarray::{ArrayViewMut3, Axis, s};

/// Zhong et al. (2017), as torchvision's `RandomErasing` after normalization.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Erase {
    /// How often.
    pub probability: f32,
    /// The least share of the image's area.
    pub least: f32,
    /// The largest share.
    pub most: f32,
    /// The narrowest rectangle's height to width, below 1.
    pub narrow: f32,
    /// The tallest one's.
    pub tall: f32,
    /// What it is filled with.
    pub fill: Erased,
}

impl Default for Erase {
    fn default() -> Self {
        Erase { probability: 0.5, least: 0.02, most: 0.33, narrow: 0.3, tall: 3.3, fill: Erased::Zero }
    }
}

impl Operate for Erase {
    fn parameters(&mut self) -> Vec<Parameter<'_>> {
        vec![
            Parameter::number("probability", &mut self.probability, [0.0, 1.0], "how often").always(),
            Parameter::number("least", &mut self.least, [0.0, 1.0], "least share of the area"),
            Parameter::number("most", &mut self.most, [0.0, 1.0], "largest share of the area"),
            Parameter::number("narrow", &mut self.narrow, [0.01, 100.0], "least height to width"),
            Parameter::number("tall", &mut self.tall, [0.01, 100.0], "most height to width"),
            Parameter::choice("fill", &mut self.fill, "what is there instead"),
        ]
    }

    fn action(&self) -> Action<'_> {
        Action::Input(self)
    }

    fn conflict(&self) -> Option<String> {
        if self.least > self.most {
            return Some(format!("least {} is above most {}", self.least, self.most));
        }
        (self.narrow > self.tall).then(|| format!("narrow {} is above tall {}", self.narrow, self.tall))
    }
}

/// A rectangle in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub top: usize,
    pub left: usize,
    pub height: usize,
    pub width: usize,
}

impl Erase {
    /// torchvision's procedure: ten attempts at a rectangle that is smaller than the image either way.
    pub(super) fn rectangle(&self, (height, width): (usize, usize), random: &mut Random) -> Option<Rectangle> {
        let area = (height * width) as f64;
        for _ in 0..10 {
            let erased = area * f64::from(random.range(self.least, self.most));
            let ratio = f64::from(libm::expf(random.range(libm::logf(self.narrow), libm::logf(self.tall))));
            let h = (erased * ratio).sqrt().round_ties_even() as usize;
            let w = (erased / ratio).sqrt().round_ties_even() as usize;
            if h < height && w < width {
                return Some(Rectangle { top: random.below(height - h + 1), left: random.below(width - w + 1), height: h, width: w });
            }
        }
        None
    }
}

/// Fills a rectangle of every channel.
pub(super) fn fill(mut input: ArrayViewMut3<f32>, at: Rectangle, with: Erased, random: &mut Random) {
    for mut plane in input.outer_iter_mut() {
        let mean = match with {
            Erased::Mean => plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len().max(1) as f64,
            _ => 0.0,
        };
        let mut part = plane.slice_mut(s![at.top..at.top + at.height, at.left..at.left + at.width]);
        match with {
            Erased::Random => part.iter_mut().for_each(|v| *v = random.normal()),
            _ => part.fill(mean as f32),
        }
    }
}

impl ChangeInput for Erase {
    fn change(&self, input: ArrayViewMut3<f32>, random: &mut Random) {
        if random.chance(self.probability) {
            let size = (input.len_of(Axis(1)), input.len_of(Axis(2)));
            if let Some(at) = self.rectangle(size, random) {
                fill(input, at, self.fill, random);
            }
        }
    }
}
