//! The methods that a study compares: what each changes in the rewriting and in the training, what its strength is, and the grid that it is
//! chosen from. Every grid has the same number of strengths, so that no method is tuned harder than another.

use crate::bundle::{Options, PenaltyOption, PenaltyStep, Setting};
use crate::error::{Error, Result};
use crate::loss;
use crate::train::{Length, Training};
use serde::{Deserialize, Serialize};

/// What a method's strength sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knob {
    /// There is nothing to set.
    Nothing,
    /// α of the penalty.
    Alpha,
    /// The strength of the regularizer of the method's name.
    Regularizer,
    /// λ of Selective Projection Decay.
    Projection,
    /// The share of the steps that train the head alone.
    HeadShare,
    /// How far the weights go from the starting point to the tuned ones, after training.
    Interpolation,
}

/// One method.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// As studies and reports have it.
    pub name: &'static str,
    /// The penalty on shared parameters.
    penalty: &'static str,
    step: PenaltyStep,
    /// What its strength is.
    pub knob: Knob,
    /// The strengths that it is chosen from; none for a method without one.
    pub strengths: Vec<f64>,
    /// For people.
    pub summary: &'static str,
}

type Row = (&'static str, &'static str, PenaltyStep, Knob, [f64; 3], &'static str);

use Knob::{Alpha, HeadShare, Interpolation, Nothing, Projection, Regularizer};
use PenaltyStep::{Decoupled, Gradient, Proximal};

/// Every method with its usual grid: factors of ten about the strength that its authors or this project's documents name; for shares and
/// interpolation, from a little to most.
const METHODS: &[Row] = &[
    ("none", "none", Gradient, Nothing, [0.0; 3], "no penalty on shared weights"),
    ("l2", "l2", Gradient, Alpha, [1e-4, 1e-3, 1e-2], "weight decay towards zero"),
    ("l2-sp", "l2-sp", Gradient, Alpha, [0.01, 0.1, 1.0], "weight decay towards the starting point"),
    ("l1-sp", "l1-sp", Proximal, Alpha, [1e-4, 1e-3, 1e-2], "distance from the start, element by element, by its proximal step"),
    ("gl-sp", "gl-sp", Proximal, Alpha, [1e-4, 1e-3, 1e-2], "distance from the start, channel by channel, by its proximal step"),
    ("l2-sp-fisher", "l2-sp-fisher", Gradient, Alpha, [0.1, 1.0, 10.0], "l2-sp, weighed by the Fisher information of the source"),
    ("gl-sp-fisher", "gl-sp-fisher", Gradient, Alpha, [1e-4, 1e-3, 1e-2], "gl-sp, weighed by the Fisher information of the source"),
    ("delta", "none", Gradient, Regularizer, [0.01, 0.1, 1.0], "feature maps near the source network's (DELTA)"),
    ("lwf", "none", Gradient, Regularizer, [0.4, 4.0, 40.0], "the old classifier's answers stay (LwF)"),
    ("bss", "none", Gradient, Regularizer, [1e-4, 1e-3, 1e-2], "small singular values of the features vanish (BSS)"),
    ("spd", "none", Gradient, Projection, [0.3, 1.0, 3.0], "projection towards the start where momentum carries on outwards (SPD)"),
    ("decoupled", "l2-sp", Decoupled, Alpha, [0.01, 0.1, 1.0], "l2-sp beside the optimizer (AdamW-style)"),
    ("wise-ft", "none", Gradient, Interpolation, [0.5, 0.7, 0.9], "weights between the start and `none`'s (WiSE-FT)"),
    ("lp-ft", "none", Gradient, HeadShare, [0.1, 0.3, 0.6], "the head alone first, then everything (LP-FT)"),
];

/// The names of all methods.
pub fn names() -> Vec<&'static str> {
    METHODS.iter().map(|row| row.0).collect()
}

/// The method of that name, with its usual grid.
pub fn find(name: &str) -> Result<Method> {
    let row = METHODS.iter().find(|row| row.0 == name);
    let &(name, penalty, step, knob, strengths, summary) =
        row.ok_or_else(|| Error::usage(format!("there is no method `{name}`; choose from {}", names().join(", "))))?;
    let strengths = if knob == Nothing { vec![] } else { strengths.to_vec() };
    Ok(Method { name, penalty, step, knob, strengths, summary })
}

impl Method {
    /// Whether the rewriting reads the Fisher information of the source.
    pub fn reads_fisher(&self) -> bool {
        self.penalty.ends_with("-fisher")
    }

    /// Whether its training is that of `none`, so that one run serves both.
    pub fn trains_as_none(&self) -> bool {
        matches!(self.knob, Nothing | Interpolation)
    }

    /// Whether new parameters have a penalty, of strength β: not where the method is plain training but for what is done before or after it.
    pub fn has_beta(&self) -> bool {
        !matches!(self.knob, Nothing | Interpolation | HeadShare)
    }

    /// What it changes in the rewriting. Strengths that the training can set stay at their defaults, so that cells share bundles.
    pub fn rewriting(&self, options: &mut Options, strength: Option<f64>) -> Result<()> {
        options.penalty = PenaltyOption::from(self.penalty);
        options.penalty_step = self.step;
        match self.knob {
            Regularizer => options.regularizers.push(loss::find(self.name)?),
            Projection => options.optimizer.spd = strength,
            _ => {}
        }
        if self.has_beta() && self.penalty == "none" {
            options.beta = Some(0.01);
        }
        Ok(())
    }

    /// What it changes in the training.
    pub fn training(&self, training: &mut Training, strength: Option<f64>, beta: f64) {
        if self.has_beta() {
            training.scalars.insert(Setting::Beta, beta);
        }
        let Some(strength) = strength else { return };
        match self.knob {
            Alpha => drop(training.scalars.insert(Setting::Alpha, strength)),
            Regularizer => drop(training.scalars.insert(Setting::Regularizer(self.name.into()), strength)),
            HeadShare => {
                if let Length::Steps(steps) = training.length {
                    training.head_first = (strength.clamp(0.0, 1.0) * steps as f64).round() as u64;
                }
            }
            Nothing | Projection | Interpolation => {}
        }
    }

    /// Where between the starting point and the tuned weights the network is.
    pub fn interpolation(&self, strength: Option<f64>) -> Option<f64> {
        strength.filter(|_| self.knob == Interpolation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_and_grids_are_equally_large() {
        for name in names() {
            let method = find(name).unwrap();
            assert_eq!(method.strengths.len(), if method.knob == Nothing { 0 } else { 3 }, "{name}");
            assert!(method.strengths.is_sorted(), "{name}");
        }
        assert!(find("l3").unwrap_err().to_string().contains("l2-sp, l1-sp"));
    }
}
