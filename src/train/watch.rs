//! Whether a run's loss rises far above its start, which a run seldom makes good again.

use super::metrics::StepRecord;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A loss that rose far above its start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rise {
    /// The step at which that was noticed.
    pub noticed: u64,
    /// The step at which it was highest.
    pub step: u64,
    /// The highest mean of five data losses in a row.
    pub highest: f64,
    /// What the run began with: the first data loss or the median of the first five, whichever is less, or what a network that knows nothing has where that
    /// is more.
    pub start: f64,
}

/// So many steps are looked at together, so that a single batch is no reason for a word.
pub const WINDOW: usize = 5;

/// A mean of more than so many times the start is far above it. In 30 healthy runs on 50 images none was above 1.03 times, in those that met a spike it was
/// 1.7 and more.
pub const FAR: f64 = 1.5;

/// Hears of all steps in their order.
pub(super) struct Watch {
    /// The data loss of a network that knows nothing.
    ignorance: f64,
    start: Option<f64>,
    recent: VecDeque<f64>,
    rise: Option<Rise>,
}

impl Watch {
    pub fn new(ignorance: f64) -> Watch {
        Watch { ignorance, start: None, recent: VecDeque::new(), rise: None }
    }

    /// The rise, where there was one.
    pub fn rise(&self) -> Option<Rise> {
        self.rise
    }

    /// Hears of the next step. Gives a rise when it is first noticed.
    pub fn hear(&mut self, record: &StepRecord) -> Option<Rise> {
        if self.recent.len() == WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(record.data_loss);
        if self.recent.len() < WINDOW {
            return None;
        }
        let now = self.recent.iter().sum::<f64>() / WINDOW as f64;
        let Some(start) = self.start else {
            // A first batch may be a hard one, and a rate that is far too high shows in the second step already.
            let first = self.recent.front().copied().unwrap_or(f64::NAN);
            self.start = Some(first.min(median(&self.recent)).max(self.ignorance));
            return None;
        };
        match &mut self.rise {
            Some(rise) if now > rise.highest => (rise.step, rise.highest) = (record.step, now),
            Some(_) => {}
            None if now > FAR * start => {
                self.rise = Some(Rise { noticed: record.step, step: record.step, highest: now, start });
                return self.rise;
            }
            None => {}
        }
        None
    }
}

fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rise(losses: &[f64]) -> Option<Rise> {
        let mut watch = Watch::new(10f64.ln());
        for (i, &data_loss) in losses.iter().enumerate() {
            let (step, seconds) = (i as u64 + 1, 0.0);
            let (lr, penalty) = (0.01, 0.0);
            watch.hear(&StepRecord {
                step,
                epoch: step,
                lr,
                loss: data_loss,
                data_loss,
                penalty,
                correct: None,
                loss_scale: None,
                skipped: false,
                images: 1,
                seconds,
                wait: 0.0,
            });
        }
        watch.rise()
    }

    /// ResNet-20 with moving statistics on 50 photographs of ten classes: at 0.03 it ended at the loss of one that knows nothing.
    const SPIKES: [[f64; 40]; 2] = [
        [
            2.36, 2.31, 2.32, 2.17, 2.15, 2.07, 2.03, 1.97, 1.82, 1.66, 1.46, 1.16, 1.07, 0.94, 0.87, 0.84, 2.45, 2.82, 5.27, 8.20, 2.43,
            2.51, 2.36, 2.44, 2.49, 2.67, 2.30, 2.32, 2.36, 2.31, 2.31, 2.31, 2.31, 2.30, 2.30, 2.30, 2.30, 2.30, 2.31, 2.31,
        ],
        [
            2.45, 2.40, 2.29, 2.21, 2.14, 2.11, 2.06, 1.95, 1.89, 1.76, 1.56, 1.44, 1.10, 0.96, 0.70, 0.61, 0.71, 0.79, 2.39, 5.59, 2.85,
            2.77, 3.37, 5.47, 2.85, 2.53, 2.40, 2.42, 2.37, 2.33, 2.31, 2.30, 2.37, 2.32, 2.31, 2.30, 2.31, 2.32, 2.31, 2.30,
        ],
    ];
    /// At 0.03 with another seed, and at 0.01 with batch statistics and batches of ten.
    const HEALTHY: [[f64; 40]; 3] = [
        [
            2.31, 2.24, 2.15, 2.19, 2.20, 2.12, 1.99, 1.91, 1.82, 1.54, 1.44, 1.23, 1.24, 1.06, 0.81, 0.80, 0.37, 0.55, 0.30, 0.63, 0.40,
            1.03, 0.40, 0.61, 0.33, 0.19, 0.12, 0.11, 0.27, 0.10, 0.30, 0.07, 0.22, 0.03, 0.12, 0.04, 0.11, 0.02, 0.11, 0.01,
        ],
        [
            2.16, 2.13, 2.81, 2.50, 2.46, 2.09, 2.34, 2.14, 2.10, 2.29, 2.11, 2.04, 2.00, 1.96, 1.91, 1.77, 1.87, 1.89, 1.69, 1.65, 1.68,
            1.53, 1.37, 1.81, 1.52, 1.65, 1.31, 1.44, 1.34, 1.36, 1.26, 1.20, 1.06, 0.94, 1.08, 0.92, 0.90, 0.91, 0.91, 1.07,
        ],
        [
            2.31, 2.62, 2.06, 2.63, 2.33, 2.32, 2.14, 2.27, 2.15, 2.08, 2.09, 2.08, 1.89, 1.88, 1.95, 1.83, 1.91, 1.86, 1.74, 1.59, 1.59,
            1.51, 1.63, 1.23, 1.85, 1.30, 1.40, 1.37, 1.41, 1.31, 1.16, 1.43, 0.97, 1.15, 1.07, 0.80, 1.02, 1.01, 0.78, 0.97,
        ],
    ];

    #[test]
    fn spikes_are_told_from_healthy_runs() {
        for losses in &SPIKES {
            let rise = rise(losses).unwrap();
            assert!((17..=25).contains(&rise.noticed) && rise.highest > 1.5 * rise.start && rise.step >= rise.noticed, "{rise:?}");
        }
        for losses in &HEALTHY {
            assert_eq!(rise(losses), None);
        }
        // A rate that is far too high: the first steps are the rise.
        let wild = rise(&[1.2, 16.8, 149.6, 1e3, 5e3, 2e4, 2e4]).unwrap();
        assert_eq!((wild.start, wild.noticed), (10f64.ln(), 6));
        // A head that knows its images starts low, and a loss below that of ignorance is no reason for a word.
        let known: Vec<f64> = (0..40).map(|i| 0.01 + 0.05 * (i % 3) as f64).collect();
        assert_eq!(rise(&known), None);
    }
}
