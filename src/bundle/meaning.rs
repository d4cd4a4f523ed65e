//! What the inputs and outputs of a training's graphs mean. Their names are free, since a network may use any name for itself: whoever
//! looks for the loss or the learning rate looks for the meaning.

use crate::error::{Error, Result};
use crate::loss::{self, Regularizer};
use crate::nearest::hint;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A scalar input that the loop sets in every step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// The learning rate.
    LearningRate,
    /// α, the strength of the penalty on parameters that have a starting point.
    Alpha,
    /// β, the strength of the penalty on new parameters.
    Beta,
    /// α of those parameters that a glob pattern matches.
    AlphaOf(String),
    /// The strength of the regularizer of that kind.
    Regularizer(String),
}

impl fmt::Display for Setting {
    /// The input's name, unless the network has another use for it: `lr`, `alpha`, `beta`, `alpha:layer4.*`, `delta`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::LearningRate => f.write_str("lr"),
            Setting::Alpha => f.write_str("alpha"),
            Setting::Beta => f.write_str("beta"),
            Setting::AlphaOf(pattern) => write!(f, "alpha:{pattern}"),
            Setting::Regularizer(kind) => f.write_str(kind),
        }
    }
}

impl FromStr for Setting {
    type Err = Error;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Setting> {
        Ok(match (text, text.strip_prefix("alpha:")) {
            ("lr", _) => Setting::LearningRate,
            ("alpha", _) => Setting::Alpha,
            ("beta", _) => Setting::Beta,
            (_, Some(pattern)) => Setting::AlphaOf(pattern.into()),
            _ => Setting::Regularizer(loss::find(text).map_err(|_| unheard(text))?.kind().into()),
        })
    }
}

fn unheard(text: &str) -> Error {
    let names = [&["lr", "alpha", "beta"], Regularizer::KINDS].concat();
    Error::usage(format!(
        "there is no number `{text}` in a step; there may be {} and alpha:PATTERN{}",
        names.join(", "),
        hint(text, &names)
    ))
}

/// A scalar output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// What is minimised: data loss and penalty.
    Loss,
    /// The mean over the batch, without penalty and regularizers.
    DataLoss,
    /// The penalty and the regularizers of the graph, with their strengths.
    Penalty,
    /// The regularizers alone, with their strengths.
    Regularizers,
    /// How many images have their target as the largest logit.
    Correct,
    /// How many images count in the mean that the data loss is: those of the batch that are no padding, at least 1.
    Count,
    /// The factor on the loss's gradient in this step.
    LossScale,
    /// 1 where a gradient was not finite and the state has stayed as it was, else 0.
    Skipped,
}

impl Measure {
    /// The output's name, unless the network has another use for it.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Loss => "loss",
            Measure::DataLoss => "data_loss",
            Measure::Penalty => "penalty",
            Measure::Regularizers => "regularizer",
            Measure::Correct => "correct",
            Measure::Count => "count",
            Measure::LossScale => "loss_scale",
            Measure::Skipped => "skipped",
        }
    }
}

/// What a state tensor is that belongs to the training as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateMeaning {
    /// The factor on the loss's gradient in the backward pass, where that is in float16.
    LossScale,
    /// Steps with finite gradients since the factor last changed.
    GoodSteps,
    /// A seed and the number of the step: what dropout's masks follow from.
    Random,
}

/// What an input or output of a training's graph means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The images, an input.
    Data,
    /// The labels, an input.
    Target,
    /// A scalar input.
    Setting(Setting),
    /// A scalar output.
    Measure(Measure),
    /// The current value of the state tensor of that name, an input.
    State(String),
    /// The starting point of the state tensor of that name, an input.
    Start(String),
    /// The next value of the state tensor of that name, an output.
    Next(String),
    /// One of the network's own outputs.
    Prediction,
    /// The gradient for the parameter of that name: an output of the backward half, an input of the updating half.
    Gradient(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_what_they_write() {
        let all = [
            Setting::LearningRate,
            Setting::Alpha,
            Setting::Beta,
            Setting::AlphaOf("layer4.*".into()),
            Setting::Regularizer("delta".into()),
        ];
        for setting in all {
            assert_eq!(setting.to_string().parse::<Setting>().unwrap(), setting);
        }
        assert!("speed".parse::<Setting>().unwrap_err().to_string().contains("speed"));
    }
}
