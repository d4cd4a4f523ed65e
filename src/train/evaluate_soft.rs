//! What a network's answers are worth where images have several classes each, or numbers.

use super::classifier::Classifier;
use super::evaluation::{Evaluation, MISTAKES, MOST_SCORES, Reading, SAID};
use super::measures::{Averages, ClassResult, Confusion, Regression, average_precision};
use super::readout::Scores;
use super::tally::Tally;
use crate::data::Dataset;
use crate::error::{Error, Result};

/// Counts images.
pub(super) struct SoftTally {
    regression: bool,
    columns: usize,
    loss: f64,
    readings: Vec<Reading>,
    /// Scores in the order of the probabilities, where they are not too many.
    rankings: Option<Vec<Vec<f64>>>,
}

impl SoftTally {
    /// For a network with that loss. Fails where it knows one class for each image.
    pub fn new(loss: &str, columns: usize) -> Result<SoftTally> {
        if !matches!(loss, "bce" | "mse") {
            return Err(Error::data(format!(
                "the images have several classes each, or numbers, and the network was made to tell one class of each ({loss}): nothing says which of \
                 its answers is right"
            )));
        }
        Ok(SoftTally { regression: loss == "mse", columns, loss: 0.0, readings: vec![], rankings: Some(vec![]) })
    }

    /// The network's answer to one image.
    fn outputs(&self, scores: &Scores, row: usize) -> Vec<f64> {
        if self.regression { scores.numbers(row) } else { scores.outputs(row) }
    }
}

impl Tally for SoftTally {
    fn view(&self, scores: &Scores, row: usize) -> Vec<f64> {
        self.outputs(scores, row)
    }

    fn len(&self) -> usize {
        self.readings.len()
    }

    fn add(&mut self, scores: &Scores, row: usize, dataset: &dyn Dataset, index: usize) -> Result<()> {
        let image = dataset.name(index);
        let mut targets = vec![0.0f32; self.columns];
        dataset.target_row(index, &mut targets);
        let targets: Vec<f64> = targets.into_iter().map(f64::from).collect();
        let outputs = self.outputs(scores, row);
        if outputs.len() != targets.len() {
            return Err(Error::data(format!(
                "{image} has {} numbers as its target, and the network gives {} for each image",
                targets.len(),
                outputs.len()
            )));
        }
        if outputs.iter().any(|v| v.is_nan()) {
            return Err(Error::training(format!(
                "the network's output for {image} is not a number. Its weights have diverged, or the image's values are wrong; check the run's losses and the preprocessing"
            )));
        }
        let loss = scores.soft_loss(row, &targets);
        self.loss += loss;
        if self.regression || self.readings.len().saturating_add(1).saturating_mul(self.columns) > MOST_SCORES {
            self.rankings = None;
        }
        if let Some(rankings) = &mut self.rankings {
            // A large score's probability is rounded to 1; of means over views there is nothing else.
            rankings.push(scores.numbers(row));
        }
        self.readings.push(Reading { image, targets, outputs, loss });
        Ok(())
    }

    fn finish(self, classifier: &Classifier, views: usize, seconds: f64) -> Evaluation {
        let images = self.readings.len();
        let column = |k: usize| {
            self.readings.iter().map(move |r| (r.targets.get(k).copied().unwrap_or(0.0), r.outputs.get(k).copied().unwrap_or(0.0)))
        };
        let class = |k: usize| {
            let has = |y: f64| y > SAID;
            let count = |of: &dyn Fn(f64, f64) -> bool| column(k).filter(|(y, p)| of(*y, *p)).count();
            let (all, told, both) = (count(&|y, _| has(y)), count(&|_, p| p >= SAID), count(&|y, p| has(y) && p >= SAID));
            let ranked = self.rankings.as_ref().and_then(|rows| {
                let scores: Vec<f64> = rows.iter().filter_map(|row| row.get(k).copied()).collect();
                average_precision(&scores, &column(k).map(|(y, _)| has(y)).collect::<Vec<_>>())
            });
            ClassResult { average_precision: ranked, ..ClassResult::new(classifier.class_name(k), all, both, told) }
        };
        let classes: Vec<ClassResult> = if self.regression { vec![] } else { (0..self.columns).map(class).collect() };
        let found: Vec<f64> = classes.iter().filter_map(|c| c.average_precision).collect();
        let right = self.readings.iter().filter(|r| r.is_right()).count();
        let side = |of: fn(&Reading) -> &Vec<f64>| self.readings.iter().map(|r| of(r).clone()).collect::<Vec<_>>();
        let regression = self.regression.then(|| Regression::of(&side(|r| &r.outputs), &side(|r| &r.targets))).flatten();
        let mut worst: Vec<Reading> = self.readings.iter().filter(|r| self.regression || !r.is_right()).cloned().collect();
        worst.sort_by(|a, b| b.loss.total_cmp(&a.loss).then_with(|| a.image.cmp(&b.image)));
        worst.truncate(MISTAKES);
        Evaluation {
            images,
            accuracy: if self.regression { f64::NAN } else { right as f64 / images.max(1) as f64 },
            top5: None,
            top: vec![],
            loss: self.loss / images.max(1) as f64,
            loss_name: classifier.loss_name().into(),
            views,
            averages: if self.regression { Averages::none() } else { Averages::of(&classes) },
            calibration: None,
            regression,
            several: !self.regression,
            mean_average_precision: (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64),
            classes,
            confusion: Confusion::default(),
            mistakes: vec![],
            worst,
            seconds,
            answers: vec![],
            readings: self.readings,
        }
    }
}
