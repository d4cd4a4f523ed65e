//! What an evaluation finds.

use super::measures::{Averages, Calibration, ClassResult, Confusion, Headline, Regression, defined};
use serde::{Deserialize, Serialize};

/// From this probability on one of several classes is said to be there.
pub(super) const SAID: f64 = 0.5;

/// The answer for one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The image file, or what else it is called.
    pub image: String,
    /// The right class.
    pub label: usize,
    /// The class with the highest score.
    pub prediction: usize,
    /// The probability of that class.
    pub probability: f64,
    /// The probability of the right class.
    pub label_probability: f64,
    /// How many classes have higher scores than the right one.
    pub rank: usize,
    /// The network's loss for the image.
    pub loss: f64,
}

/// How often the right class is among the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopK {
    /// Among so many.
    pub k: usize,
    /// The share of images.
    pub accuracy: f64,
}

/// Results over all images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images of all classes.
    pub images: usize,
    /// Share of images whose class has the highest score; where they have several, of those that all were told of. No number where targets are.
    #[serde(default = "defined::none", skip_serializing_if = "defined::is_none")]
    pub accuracy: f64,
    /// Share of images whose class is among the five highest; for 6 classes and more.
    pub top5: Option<f64>,
    /// What was asked for beside these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<TopK>,
    /// The mean of the network's own loss.
    pub loss: f64,
    /// What that is, in a few words.
    pub loss_name: String,
    /// Views of each image, whose probabilities were averaged.
    #[serde(default = "one")]
    pub views: usize,
    /// Over classes; not in the record where targets are numbers.
    #[serde(default = "Averages::none", skip_serializing_if = "Averages::are_none")]
    pub averages: Averages,
    /// Whether the network is as often right as it says; `None` where what it gives are no probabilities.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// Where targets are numbers: how far the network's are from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regression: Option<Regression>,
    /// Whether images have several classes each, or numbers: then `readings` and `worst` have what `answers` and `mistakes` have otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
    /// Mean average precision, of networks with a probability for each class by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// By label; classes without images too.
    pub classes: Vec<ClassResult>,
    /// Which class was taken for which; cells with images.
    #[serde(default)]
    pub confusion: Confusion,
    /// The wrong answers with the highest losses, worst first.
    #[serde(default)]
    pub mistakes: Vec<Answer>,
    /// The images with the highest losses, worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worst: Vec<Reading>,
    /// Time of the whole evaluation.
    pub seconds: f64,
    /// For each image, in order. Not part of files.
    #[serde(skip)]
    pub answers: Vec<Answer>,
    /// For each image, in order. Not part of files.
    #[serde(skip)]
    pub readings: Vec<Reading>,
}

fn one() -> usize {
    1
}

impl Evaluation {
    /// What comes first.
    pub fn headline(&self) -> Headline {
        match (&self.regression, self.mean_average_precision) {
            (Some(found), _) => Headline::Rmse(found.rmse),
            (None, Some(found)) if self.several => Headline::MeanAveragePrecision(found),
            _ => Headline::Accuracy(self.accuracy),
        }
    }

    /// Share of images whose class is among the `k` highest.
    pub fn top(&self, k: usize) -> f64 {
        self.answers.iter().filter(|a| a.rank < k).count() as f64 / self.answers.len().max(1) as f64
    }
}

/// Wrong answers that are told.
pub(super) const MISTAKES: usize = 24;
/// Scores that are kept for the mean average precision, at most.
pub(super) const MOST_SCORES: usize = 20_000_000;

/// What the network says of an image, and what is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The image file, or what else it is called.
    pub image: String,
    /// For each class 1 where the image has it, or the right numbers.
    pub targets: Vec<f64>,
    /// For each class its probability, or the network's numbers.
    pub outputs: Vec<f64>,
    /// The network's loss for the image.
    pub loss: f64,
}

impl Reading {
    /// Whether exactly the image's classes have a probability of a half or more.
    pub fn is_right(&self) -> bool {
        self.targets.iter().zip(&self.outputs).all(|(y, p)| (*y > SAID) == (*p >= SAID))
    }
}
