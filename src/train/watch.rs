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
    /// The highest median of [`WINDOW`] data losses in a row.
    pub highest: f64,
    /// What the run began with: the median of the first [`WINDOW`] data losses, or what a network that knows nothing has where that is more.
    pub start: f64,
}

/// So many steps are looked at together, so that a single batch is no reason for a word.
pub const WINDOW: usize = 5;

/// A median of more than so many times the start is far above it.
pub const FAR: f64 = 2.0;

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
        let now = median(&self.recent);
        let start = *self.start.get_or_insert(now.max(self.ignorance));
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
