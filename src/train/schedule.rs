//! The learning rate over time: a warm-up, then constant, in steps, or half a cosine.
//!
//! As PyTorch's schedulers one behind the other (`SequentialLR`): `LinearLR` from 1/w to 1 over the `w` steps of the warm-up; then a constant rate,
//! `MultiStepLR`, whose milestones are counted from the beginning of the training, or `CosineAnnealingLR` over the steps that are left.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::nearest::hint;
use std::fmt;
use std::str::FromStr;

/// A moment of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Milestone {
    /// After this share of the steps.
    Share(f64),
    /// After so many epochs.
    Epoch(u64),
}

/// The learning rate over time, after its warm-up. Written `constant`, `step:FACTOR@MILESTONES` and `cosine:FLOOR`.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// The full rate throughout.
    Constant,
    /// Multiplied at each milestone.
    Step {
        /// By this.
        factor: f64,
        /// In any order.
        at: Vec<Milestone>,
    },
    /// Half a cosine from the full rate down.
    Cosine {
        /// To this share of it.
        floor: f64,
    },
}

impl Default for Schedule {
    /// A tenth after two thirds of the steps, as in the paper.
    fn default() -> Self {
        Schedule::Step { factor: 0.1, at: vec![Milestone::Share(2.0 / 3.0)] }
    }
}

/// The steps that a schedule spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// All of them.
    pub steps: u64,
    /// The first ones, in which the rate grows.
    pub warmup: u64,
    /// Steps in an epoch.
    pub per_epoch: u64,
}

impl Schedule {
    /// Half a cosine from the full rate to 0.
    pub const COSINE: Schedule = Schedule::Cosine { floor: 0.0 };

    /// The steps of a warm-up that nobody gave a length to, in so many steps: a tenth of them, at most a hundred.
    pub fn warmup(steps: u64) -> u64 {
        (steps / 10).min(100)
    }

    /// The factor on the learning rate in step `step` (from 0).
    pub fn factor(&self, step: u64, span: Span) -> f64 {
        if step < span.warmup {
            return step.saturating_add(1) as f64 / span.warmup as f64;
        }
        match self {
            Schedule::Constant => 1.0,
            Schedule::Step { factor, at } => {
                let reached = |m: &&Milestone| match **m {
                    Milestone::Share(share) => step as f64 >= share * span.steps as f64,
                    Milestone::Epoch(epoch) => step >= epoch.saturating_mul(span.per_epoch),
                };
                at.iter().filter(reached).fold(1.0, |rate, _| rate * factor)
            }
            Schedule::Cosine { floor } => {
                let (done, all) = (step.saturating_sub(span.warmup), span.steps.saturating_sub(span.warmup).max(1));
                // From `libm`, so that every machine has the same rate.
                floor + (1.0 - floor) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done as f64 / all as f64))
            }
        }
    }
}

impl fmt::Display for Milestone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Milestone::Share(share) => write!(f, "{share}"),
            Milestone::Epoch(epoch) => write!(f, "{epoch}e"),
        }
    }
}

/// As people write it: with `{:#}` every number, the usual ones too.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Constant => f.write_str("constant"),
            all if *all == Schedule::default() && !f.alternate() => f.write_str("step"),
            Schedule::Step { factor, at } => {
                write!(f, "step:{factor}@{}", at.iter().map(Milestone::to_string).collect::<Vec<_>>().join(","))
            }
            Schedule::Cosine { floor: 0.0 } if !f.alternate() => f.write_str("cosine"),
            Schedule::Cosine { floor } => write!(f, "cosine:{floor}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = Error;

    /// Reads what `Display` writes; `step:FACTOR` and `step@MILESTONES` leave the other as it is usually.
    fn from_str(text: &str) -> Result<Schedule> {
        let wrong = |why: &str| {
            let end = if why.ends_with('?') { "" } else { "." };
            Error::option(
                Field::SCHEDULE,
                format!(
                    " '{text}': {why}{end} Write constant, step, step:FACTOR@MILESTONES such as step:0.1@0.5,0.75 (shares of the steps) or step:0.1@30e,60e (epochs), cosine, or cosine:FLOOR such as cosine:0.01"
                ),
            )
        };
        let number = |text: &str, what: &str| {
            let value = text.parse::<f64>().ok().filter(|v| (0.0..=1.0).contains(v));
            value.ok_or_else(|| wrong(&format!("the {what} '{text}' is no number from 0 to 1")))
        };
        let (head, milestones) = match text.split_once('@') {
            Some((head, milestones)) => (head, Some(milestones)),
            None => (text, None),
        };
        let (name, value) = match head.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (head, None),
        };
        let milestone = |m: &str| match m.strip_suffix('e') {
            Some(epoch) => epoch.parse().map(Milestone::Epoch).map_err(|_| wrong(&format!("'{m}' is no number of epochs"))),
            None => number(m, "milestone").map(Milestone::Share),
        };
        match (name, value, milestones) {
            ("constant", None, None) => Ok(Schedule::Constant),
            ("cosine", floor, None) => Ok(Schedule::Cosine { floor: floor.map_or(Ok(0.0), |v| number(v, "floor"))? }),
            ("step", factor, milestones) => Ok(Schedule::Step {
                factor: factor.map_or(Ok(0.1), |v| number(v, "factor"))?,
                at: milestones.unwrap_or("0.6666666666666666").split(',').map(milestone).collect::<Result<_>>()?,
            }),
            ("constant" | "cosine", ..) => Err(wrong(&format!("{name} takes no such value"))),
            (other, ..) => Err(wrong(&format!("there is no such schedule{}", hint(other, &["constant", "step", "cosine"])))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(steps: u64, warmup: u64) -> Span {
        Span { steps, warmup, per_epoch: 5 }
    }

    #[test]
    fn the_paper_s_schedule_drops_once() {
        let usual = Schedule::default();
        let rates: Vec<f64> = (0..9).map(|s| usual.factor(s, span(9, 0))).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1]);
        for steps in (3..3_000_000).step_by(2997) {
            assert_eq!([2 * steps / 3 - 1, 2 * steps / 3].map(|s| usual.factor(s, span(steps, 0))), [1.0, 0.1], "{steps}");
        }
    }

    #[test]
    fn schedules_read_what_they_write() {
        for text in ["constant", "step", "cosine", "cosine:0.01", "step:0.5@0.5,0.75", "step:0.1@30e,60e"] {
            let found: Schedule = text.parse().unwrap();
            assert_eq!(found.to_string(), text);
            assert_eq!(format!("{found:#}").parse::<Schedule>().unwrap(), found);
        }
        assert_eq!("step@0.5".parse::<Schedule>().unwrap().to_string(), "step:0.1@0.5");
        assert_eq!("step:0.1".parse::<Schedule>().unwrap(), Schedule::default());
        assert_eq!(format!("{:#} {:#}", Schedule::default(), Schedule::Cosine { floor: 0.0 }), "step:0.1@0.6666666666666666 cosine:0");
        for text in
            ["", "steps", "cosine:2", "cosine:0.1@0.5", "constant:1", "step:x", "step:0.1@", "step:0.1@1.5", "step:0.1@-3e", "cosine:NaN"]
        {
            assert!(text.parse::<Schedule>().unwrap_err().to_string().contains(&format!("'{text}'")), "{text}");
        }
    }
}
