//! `metrics.jsonl`: one line for each step, end of an epoch and validation.

use super::measures::{Headline, defined};
use serde::{Deserialize, Serialize};

/// One training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// From 1.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Learning rate.
    pub lr: f64,
    /// What is minimised: data loss and penalty.
    pub loss: f64,
    /// The mean over the batch.
    pub data_loss: f64,
    /// Penalty and regularizers, with their strengths.
    pub penalty: f64,
    /// Right answers in the batch; `None` where the targets are numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<u64>,
    /// Where the loss is scaled: the factor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Whether the state stayed as it was, since a gradient of the scaled loss was not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Images in the batch.
    pub images: usize,
    /// Time of the whole step, and how much of it was spent waiting for images.
    pub seconds: f64,
    /// Seconds of it spent waiting for images.
    pub wait: f64,
}

impl ValidationRecord {
    /// What comes first.
    pub fn headline(&self) -> Headline {
        self.measure.unwrap_or(Headline::Accuracy(self.accuracy))
    }
}

/// One pass over the validation images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Steps done.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// Share of images told right; of several classes all of them. No number where targets are.
    #[serde(default = "defined::none", skip_serializing_if = "defined::is_none")]
    pub accuracy: f64,
    /// What comes first where that is not the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Headline>,
    /// The mean of the network's own loss.
    pub loss: f64,
    /// Images of the validation.
    pub images: usize,
    /// Time of the pass.
    pub seconds: f64,
    /// Whether it is the best so far.
    pub best: bool,
}

/// Means over the steps of an epoch, or of its part before the end of the run, each step by the number of its images; and how far the parameters
/// are from their starting point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Steps done.
    pub step: u64,
    /// From 1.
    pub epoch: u64,
    /// The last step's.
    pub lr: f64,
    /// What is minimised: data loss and penalty.
    pub loss: f64,
    /// The mean data loss.
    pub data_loss: f64,
    /// The mean penalty, regularizers included.
    pub penalty: f64,
    /// Share of training images told right, before the step that each of them was part of; of several classes all of them. No number where targets are.
    #[serde(default = "defined::none", skip_serializing_if = "defined::is_none")]
    pub accuracy: f64,
    /// Images of those steps.
    pub images: usize,
    /// Time of those steps.
    pub seconds: f64,
    /// ‖w − w⁰‖ and ‖w − w⁰‖/‖w⁰‖ over all parameters that have a starting point, and by parameter; measured at the first end of an epoch that is
    /// at least [`EpochRecord::APART`] steps behind the last measurement, and at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<Moved>,
}

/// How far the parameters are from their starting point.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Moved {
    /// ‖w − w⁰‖.
    pub total: f64,
    /// ‖w − w⁰‖/‖w⁰‖.
    pub relative: f64,
    /// The latter by parameter, in the bundle's order.
    pub layers: Vec<(String, f64)>,
}

impl EpochRecord {
    /// Distances are measured at least so many steps apart, for they cost a copy of the parameters.
    pub const APART: u64 = 25;
}

/// Means over steps, each by the number of its images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Means {
    pub loss: f64,
    pub data_loss: f64,
    pub penalty: f64,
    pub accuracy: f64,
    pub images: usize,
    pub seconds: f64,
}

impl Means {
    pub fn of<'a>(steps: impl Iterator<Item = &'a StepRecord>) -> Means {
        let mut sums = Means::default();
        for step in steps {
            let images = step.images as f64;
            sums.loss += images * step.loss;
            sums.data_loss += images * step.data_loss;
            sums.penalty += images * step.penalty;
            sums.accuracy += step.correct.map_or(f64::NAN, |correct| correct as f64);
            sums.images = sums.images.saturating_add(step.images);
            sums.seconds += step.seconds;
        }
        let all = sums.images.max(1) as f64;
        Means { loss: sums.loss / all, data_loss: sums.data_loss / all, penalty: sums.penalty / all, accuracy: sums.accuracy / all, ..sums }
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Record {
    /// A training step.
    Step(StepRecord),
    /// A validation.
    Validation(ValidationRecord),
    /// The end of an epoch.
    Epoch(EpochRecord),
}

impl Record {
    pub(super) fn step(&self) -> u64 {
        match self {
            Record::Step(r) => r.step,
            Record::Validation(r) => r.step,
            Record::Epoch(r) => r.step,
        }
    }
}
