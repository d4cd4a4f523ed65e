//! Which validation is better than another, and when there have been enough without a better one.

use super::metrics::ValidationRecord;
use crate::error::{Error, Result};
use crate::field::Field;
use serde::{Deserialize, Serialize};

/// What of a validation is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// The higher the better; of equal ones the lower loss. Of images with several classes each it is the mean average precision, of numbers the RMSE.
    #[default]
    Accuracy,
    /// The lower the better.
    Loss,
}

/// What the best validation is, and whether a run ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopping {
    /// What makes a validation the best.
    pub criterion: Criterion,
    /// The run ends after so many validations in a row that brought nothing better. `None`: never.
    pub patience: Option<u64>,
    /// What does not change the criterion by more than this is nothing better.
    pub min_delta: f64,
}

impl EarlyStopping {
    /// Fails for settings that make no sense, or that nothing could fulfil.
    pub fn check(&self, validates: bool) -> Result<()> {
        if self.patience == Some(0) {
            return Err(Error::option(Field::PATIENCE, " 0 would end the run at its first validation: give 1 or more"));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            return Err(Error::option(Field::MIN_DELTA, format!(" {} must be 0 or a positive number", self.min_delta)));
        }
        if self.criterion == Criterion::Accuracy && self.min_delta >= 1.0 {
            return Err(Error::option(
                Field::MIN_DELTA,
                format!(" {} can never be reached: accuracies lie between 0 and 1, so that 0.01 is one percent", self.min_delta),
            ));
        }
        if !validates && *self != EarlyStopping::default() {
            let field = match (self.patience, self.min_delta != 0.0) {
                (Some(_), _) => Field::PATIENCE,
                (None, true) => Field::MIN_DELTA,
                _ => Field::CRITERION,
            };
            return Err(Error::option(field, format!(" needs validation images: give {}", Field::VALIDATION)));
        }
        if self.patience.is_none() && self.min_delta != 0.0 {
            return Err(Error::option(Field::MIN_DELTA, format!(" says what counts as better for {}, which is missing", Field::PATIENCE)));
        }
        Ok(())
    }

    /// How much better `(score, loss)` is than another by the criterion alone.
    fn gain(&self, (accuracy, loss): (f64, f64), over: (f64, f64)) -> f64 {
        match self.criterion {
            Criterion::Accuracy => accuracy - over.0,
            Criterion::Loss => over.1 - loss,
        }
    }

    /// Whether `(accuracy, loss)` is better than another at all.
    pub fn better(&self, found: (f64, f64), over: (f64, f64)) -> bool {
        let gain = self.gain(found, over);
        gain > 0.0 || (gain == 0.0 && found.1 < over.1)
    }
}

/// Counts the validations that brought nothing better.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    /// Accuracy and loss that were to be exceeded.
    mark: Option<(f64, f64)>,
    /// Validations since.
    waited: u64,
}

impl Patience {
    /// Hears of a validation.
    pub fn hear(&mut self, stopping: &EarlyStopping, record: &ValidationRecord) {
        let found = (record.headline().score(), record.loss);
        if self.mark.is_none_or(|mark| stopping.gain(found, mark) > stopping.min_delta) {
            (self.mark, self.waited) = (Some(found), 0);
        } else {
            self.waited = self.waited.saturating_add(1);
        }
    }

    /// Whether there were enough of them.
    pub fn is_over(&self, stopping: &EarlyStopping) -> bool {
        stopping.patience.is_some_and(|patience| self.waited >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(stopping: &EarlyStopping, values: &[(f64, f64)]) -> Option<usize> {
        let mut patience = Patience::default();
        (0..values.len()).find(|&i| {
            let (accuracy, loss) = values[i];
            let record = ValidationRecord { step: 0, epoch: 0, accuracy, measure: None, loss, images: 1, seconds: 0.0, best: false };
            patience.hear(stopping, &record);
            patience.is_over(stopping)
        })
    }

    #[test]
    fn patience_counts_from_the_last_gain() {
        let accuracy = EarlyStopping { patience: Some(2), ..EarlyStopping::default() };
        let values = [(0.5, 1.0), (0.6, 0.9), (0.6, 0.8), (0.7, 1.0), (0.7, 0.1), (0.69, 0.0), (0.9, 0.0)];
        assert_eq!(stops(&accuracy, &values), Some(5));
        let loss = EarlyStopping { criterion: Criterion::Loss, ..accuracy };
        assert_eq!(stops(&loss, &values), None);
        let demanding = EarlyStopping { min_delta: 0.15, ..loss };
        assert_eq!(stops(&demanding, &values), Some(6), "0.8 is 0.2 below 1, 0.1 far below 0.8, and 0 not far enough below 0.1");
        assert_eq!(stops(&EarlyStopping { min_delta: 0.15, ..accuracy }, &values), Some(2), "0.6 is not far enough above 0.5");
        // Small gains add up to one: each is measured from the last that counted.
        assert_eq!(stops(&EarlyStopping { min_delta: 0.15, ..accuracy }, &[(0.5, 1.0), (0.6, 1.0), (0.66, 1.0), (0.7, 1.0)]), None);
        assert_eq!(stops(&EarlyStopping { min_delta: 0.15, ..accuracy }, &[(0.5, 1.0), (0.6, 1.0), (0.64, 1.0), (0.7, 1.0)]), Some(2));
    }
}
