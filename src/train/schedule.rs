//! How long a run trains, and its learning rate over time.

use serde::{Deserialize, Serialize};

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// Passes over the images.
    Epochs(u64),
    /// Training steps.
    Steps(u64),
}

impl Length {
    /// The number of steps, with so many in an epoch.
    pub fn steps(self, per_epoch: usize) -> u64 {
        match self {
            Length::Epochs(n) => n.saturating_mul(per_epoch as u64),
            Length::Steps(n) => n,
        }
    }
}

/// A first part of a run that was trained when another length was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretch {
    /// Its last step.
    pub until: u64,
    /// The length that its learning rate follows.
    pub length: Length,
}

/// The learning rate over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The full rate throughout.
    Constant,
    /// A tenth after two thirds of the steps, as in the paper.
    #[default]
    Step,
    /// Half a cosine, from the full rate to 0.
    Cosine,
}

impl Schedule {
    /// The factor on the learning rate in step `step` (from 0) of `total`.
    pub fn factor(self, step: u64, total: u64) -> f64 {
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step if 3 * step as u128 >= 2 * total as u128 => 0.1,
            Schedule::Step => 1.0,
            // From `libm`, so that every machine has the same rate.
            Schedule::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * step as f64 / total.max(1) as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paper_s_schedule_drops_once() {
        let rates: Vec<f64> = (0..9).map(|s| Schedule::Step.factor(s, 9)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
        assert_eq!(Schedule::Step.factor(5999, 9000), 1.0);
        assert_eq!(Schedule::Step.factor(6000, 9000), 0.1);
        assert_eq!(Schedule::Constant.factor(8, 9), 1.0);
    }

    #[test]
    fn a_cosine_starts_whole_and_ends_near_zero() {
        assert_eq!(Schedule::Cosine.factor(0, 100), 1.0);
        assert!((Schedule::Cosine.factor(50, 100) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(99, 100) < 3e-4);
    }
}
