//! The one number that says how good a network is, for what it learns.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What comes first of an evaluation, and what validations are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Headline {
    /// Share of images told right, where each has one class.
    Accuracy(f64),
    /// Where images have several classes.
    MeanAveragePrecision(f64),
    /// Where they have numbers.
    Rmse(f64),
}

impl Headline {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Headline::Accuracy(_) => "accuracy",
            Headline::MeanAveragePrecision(_) => "mean AP",
            Headline::Rmse(_) => "RMSE",
        }
    }

    /// The number.
    pub fn value(&self) -> f64 {
        match *self {
            Headline::Accuracy(v) | Headline::MeanAveragePrecision(v) | Headline::Rmse(v) => v,
        }
    }

    /// The higher the better.
    pub fn score(&self) -> f64 {
        match *self {
            Headline::Rmse(v) => -v,
            _ => self.value(),
        }
    }

    /// `87.25 %`, or a number.
    pub fn figure(&self) -> String {
        match self {
            Headline::Rmse(v) => format!("{v:.4}"),
            _ => format!("{:.2} %", 100.0 * self.value()),
        }
    }
}

/// `accuracy 87.25 %`.
impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.figure())
    }
}

/// A share that is not defined is left out of files.
pub(in crate::train) mod defined {
    /// For `default`.
    pub fn none() -> f64 {
        f64::NAN
    }

    /// For `skip_serializing_if`.
    pub fn is_none(value: &f64) -> bool {
        value.is_nan()
    }
}
