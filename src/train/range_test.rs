//! The learning rate range test (Smith 2017, arXiv 1506.01186; `lr_find` of fastai): steps from the run's own start with a rate that grows
//! exponentially, and the rate that their losses suggest. The state that the steps leave is thrown away.
//!
//! The losses are smoothed by a moving average without its bias towards 0. The test ends where the smoothed loss is above four times its minimum,
//! or is no number. The suggestion is a tenth of the rate at which the smoothed loss is lowest: there the loss still falls fast, and the rates that
//! let it rise are an order of magnitude away.

use super::scalars::Scalars;
use super::step::TrainingStep;
use crate::bundle::Setting;
use crate::data::Loader;
use crate::error::{Error, Result};
use crate::field::Field;
use std::sync::atomic::{AtomicBool, Ordering};

/// The first rate and the last.
const RATES: (f64, f64) = (1e-6, 10.0);

/// Steps from one to the other.
const STEPS: u64 = 100;

/// What is kept of the average at each step.
const SMOOTHING: f64 = 0.9;

/// The first steps, whose rates are too small to change anything: they show the loss at the start and how much batches differ.
const QUIET: usize = 10;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangePoint {
    /// Its learning rate.
    pub lr: f64,
    /// Its loss, before the step.
    pub loss: f64,
    /// The average.
    pub smoothed: f64,
}

/// What a range test found.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTest {
    /// The steps.
    pub points: Vec<RangePoint>,
    /// The rate at which the smoothed loss is lowest.
    pub lowest: f64,
    /// The rate to train with.
    pub suggestion: f64,
}

impl RangeTest {
    /// From the losses of steps with those rates. Fails where no rate lets the loss fall.
    pub fn of(steps: &[(f64, f64)]) -> Result<RangeTest> {
        let mut points: Vec<RangePoint> = vec![];
        let (mut average, mut weight, mut least) = (0.0, 1.0, f64::INFINITY);
        for &(lr, loss) in steps.iter().take_while(|s| s.1.is_finite()) {
            average = SMOOTHING * average + (1.0 - SMOOTHING) * loss;
            weight *= SMOOTHING;
            let smoothed = average / (1.0 - weight);
            points.push(RangePoint { lr, loss, smoothed });
            least = smoothed.min(least);
            if smoothed > 4.0 * least && points.len() > QUIET {
                break;
            }
        }
        let quiet: Vec<f64> = points.iter().take(QUIET).map(|p| p.loss).collect();
        let count = quiet.len().max(1) as f64;
        let start = quiet.iter().sum::<f64>() / count;
        let spread = (quiet.iter().map(|v| (v - start) * (v - start)).sum::<f64>() / count).sqrt();
        let lowest = points.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed));
        match lowest {
            // What differs from batch to batch is no descent.
            Some(lowest) if points.len() > QUIET && start - lowest.smoothed > spread.max(0.05 * start.abs()) => {
                Ok(RangeTest { lowest: lowest.lr, suggestion: lowest.lr / 10.0, points })
            }
            _ => Err(Error::training(format!(
                "no learning rate from {:e} to {:e} lets the loss fall: it is {start:.4} at the start and never clearly below ({:.4} at best). The network may \
                 know these images already, or labels or preprocessing may be wrong. Give {} as a number to train all the same",
                RATES.0,
                RATES.1,
                lowest.map_or(f64::NAN, |p| p.smoothed),
                Field::LR
            ))),
        }
    }

    /// What was found, in a sentence.
    pub fn summary(&self) -> String {
        format!(
            "learning rate {:.2e}: a tenth of {:.2e}, where the smoothed loss of a range test was lowest ({} steps from {:e} on; lr_find.svg shows them)",
            self.suggestion,
            self.lowest,
            self.points.len(),
            RATES.0
        )
    }
}

/// Runs the test with a step of its own, on the images in the order in which the run sees them.
pub(super) fn range_test(step: &mut TrainingStep, loader: &Loader, scalars: &Scalars, stop: &AtomicBool) -> Result<RangeTest> {
    let mut found = vec![];
    let mut least = f64::INFINITY;
    for (k, batch) in (0..STEPS).zip(loader.stream(0, 0, None)?) {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("stopped before the first step; nothing was written".into()));
        }
        let batch = batch?;
        // From `libm`, so that every machine tries the same rates.
        let lr = RATES.0 * libm::pow(RATES.1 / RATES.0, k as f64 / (STEPS - 1) as f64);
        let loss = step.run(&batch.data, &batch.target, &scalars.clone().with(&Setting::LearningRate, lr)?)?.loss;
        found.push((lr, loss));
        least = loss.min(least);
        // Far above what ends the curve.
        if !loss.is_finite() || (loss > 100.0 * least && found.len() > QUIET) {
            break;
        }
    }
    RangeTest::of(&found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a loss of `lr`.
    fn steps(loss: impl Fn(usize, f64) -> f64) -> Vec<(f64, f64)> {
        let rate = |k: usize| RATES.0 * (RATES.1 / RATES.0).powf(k as f64 / (STEPS - 1) as f64);
        (0..STEPS as usize).map(|k| (rate(k), loss(k, rate(k)))).collect()
    }

    #[test]
    fn a_valley_is_found_and_left_a_tenth_before_it() {
        let curve = steps(|_, lr| if lr < 0.1 { 2.3 - 1.5 * (lr / 0.1).sqrt() } else { 0.8 * (lr / 0.1).powi(2) });
        let found = RangeTest::of(&curve).unwrap();
        assert!((0.05..0.3).contains(&found.lowest), "{}", found.lowest);
        assert_eq!(found.suggestion, found.lowest / 10.0);
        assert!(found.points.len() < 100 && found.points.last().unwrap().smoothed > 4.0 * 0.8, "it ends where the loss has risen");
    }

    #[test]
    fn what_does_not_descend_is_refused() {
        let noise = |k: usize| 0.2 * ((k * 7919 % 13) as f64 / 13.0 - 0.5);
        for curve in [
            steps(|_, _| 2.3),
            steps(|k, _| 2.3 + noise(k)),
            steps(|k, lr| 0.02 + 0.1 * noise(k).abs() + lr),
            steps(|_, lr| 2.3 + 10.0 * lr),
            steps(|_, _| f64::NAN),
        ] {
            let error = RangeTest::of(&curve).unwrap_err().to_string();
            assert!(error.contains("lets the loss fall"), "{error}");
        }
        assert!(RangeTest::of(&steps(|k, lr| 2.3 + noise(k) - 3.0 * lr.min(0.5))).is_ok());
    }
}
