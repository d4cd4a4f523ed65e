//! What a network's answers are worth over an image folder.

use super::classifier::Classifier;
use super::evaluate_soft::SoftTally;
use super::evaluation::{Answer, Evaluation, MISTAKES, MOST_SCORES, TopK};
use super::measures::{Averages, Calibration, ClassResult, Confusion, brier, mean_average_precision};
use super::readout::Scores;
use super::tally::{Tally, count};
use crate::data::{Augment, BadImages, Dataset, ImageDataset, ImageSet, Last, Loader, LoaderOptions, Part, TenCrops, check_images};
use crate::error::{Error, Result};
use crate::field::Field;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Images per call where the network leaves it open.
const BATCH: usize = 32;

/// What an image folder is evaluated with.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// The image folder.
    pub data: PathBuf,
    /// Images per call where the network leaves it open.
    pub batch: Option<usize>,
    /// Threads that load images, 0 for one per core.
    pub workers: usize,
    /// What becomes of images that cannot be read.
    pub bad_images: BadImages,
    /// Average over ten views of each image: corners, middle, and mirrored.
    pub ten_crop: bool,
    /// Also tell how often the right class is among so many.
    pub top: Option<usize>,
}

impl EvaluationOptions {
    /// The usual options for that folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        EvaluationOptions { data: data.into(), batch: None, workers: 0, bad_images: BadImages::Refuse, ten_crop: false, top: None }
    }
}

/// Evaluates on an image folder. `note` hears what was assumed and left out, `done` of each batch how many images have been seen.
pub fn evaluate_folder(
    classifier: &mut Classifier,
    options: &EvaluationOptions,
    stop: &AtomicBool,
    note: &mut dyn FnMut(&str),
    done: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let dir = &options.data;
    let mut folder = ImageSet::open_part(dir, &classifier.known_classes(), &[Part::Test, Part::Validation])?;
    folder.notes().iter().for_each(|text| note(text));
    // Where they are refused, the evaluation itself finds them.
    if options.bad_images == BadImages::Skip {
        let (kept, skipped) = check_images(folder, options.bad_images, options.workers, stop, done)?;
        skipped.iter().for_each(|text| note(text));
        folder = kept;
    }
    classifier.name_classes(folder.classes());
    let classes = folder.classes().len();
    let recipe = classifier.recipe()?;
    let dataset: Arc<dyn Dataset> = if options.ten_crop {
        let views = TenCrops::new(folder, recipe);
        views.note().iter().for_each(|text| note(text));
        Arc::new(views)
    } else {
        Arc::new(ImageDataset::new(folder, recipe, Augment::NONE, 0))
    };
    let mut found = evaluate(classifier, dataset, options.batch, options.workers, stop, done)?;
    classifier.output_decided().iter().for_each(|text| note(text));
    // A network may not say before it runs how many classes it has, and labels that were found without that may be wrong.
    if found.classes.len() != classes && found.regression.is_none() {
        return Err(Error::data(format!(
            "{} gives {classes} classes, and the network has {}. Name its classes by label with {}",
            dir.display(),
            found.classes.len(),
            Field::CLASS_NAMES
        )));
    }
    found.top = options.top.map(|k| TopK { k, accuracy: found.top(k) }).into_iter().collect();
    Ok(found)
}

/// Evaluates on any data set. Fails when a label has no output, when an output is no number, and when `stop` is set.
pub fn evaluate(
    classifier: &mut Classifier,
    dataset: Arc<dyn Dataset>,
    batch: Option<usize>,
    workers: usize,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let fixed = classifier.fixed_batch();
    let options = LoaderOptions {
        last: if fixed.is_some() { Last::Pad } else { Last::Short },
        threads: workers,
        ..LoaderOptions::evaluation(fixed.or(batch).unwrap_or(BATCH))
    };
    let loader = Loader::new(dataset.clone(), options)?;
    let dataset = dataset.as_ref();
    match dataset.target_columns() {
        None => {
            let tally = ClassTally { keep_scores: classifier.loss_kind() == "bce", ..ClassTally::default() };
            count(classifier, dataset, &loader, tally, stop, done)
        }
        // Several classes, or numbers, for each image.
        Some(columns) => {
            let tally = SoftTally::new(classifier.loss_kind(), columns)?;
            count(classifier, dataset, &loader, tally, stop, done)
        }
    }
}

/// Counts images that have one class each.
#[derive(Default)]
struct ClassTally {
    loss: f64,
    /// As many as the network has.
    classes: usize,
    confusion: Confusion,
    answers: Vec<Answer>,
    /// Confidence, whether it was right, and what the image adds to the Brier score.
    confidences: Vec<(f64, bool, f64)>,
    keep_scores: bool,
    scores: Vec<Vec<f64>>,
}

impl Tally for ClassTally {
    fn add(&mut self, scores: &Scores, row: usize, dataset: &dyn Dataset, index: usize) -> Result<()> {
        let (label, image) = (dataset.label(index), dataset.name(index));
        let ranking = scores.ranking(row);
        let (label, rank, prediction) = place(&ranking, label, &image)?;
        self.classes = ranking.len();
        let probabilities = scores.probabilities(row);
        let loss = scores.loss(row, label);
        let of = |class: usize| probabilities.get(class).copied().unwrap_or(0.0);
        self.loss += loss;
        self.confusion.add(label, prediction);
        let all_probabilities = probabilities.iter().all(|p| (0.0..=1.0 + 1e-6).contains(p));
        let confidence = if all_probabilities { of(prediction) } else { f64::NAN };
        self.confidences.push((confidence, rank == 0, brier(&probabilities, label)));
        self.answers.push(Answer { image, label, prediction, probability: of(prediction), label_probability: of(label), rank, loss });
        self.keep_scores &= self.scores.len().saturating_add(1).saturating_mul(ranking.len()) <= MOST_SCORES;
        if self.keep_scores {
            self.scores.push(ranking);
        }
        Ok(())
    }

    fn view(&self, scores: &Scores, row: usize) -> Vec<f64> {
        scores.outputs(row)
    }

    fn len(&self) -> usize {
        self.answers.len()
    }

    fn finish(self, classifier: &Classifier, views: usize, seconds: f64) -> Evaluation {
        let images = self.answers.len();
        let among = |k: usize| self.answers.iter().filter(|a| a.rank < k).count() as f64 / images.max(1) as f64;
        let classes = ClassResult::of(&self.confusion, (0..self.classes).map(|label| classifier.class_name(label)));
        let mut mistakes: Vec<Answer> = self.answers.iter().filter(|a| a.rank > 0).cloned().collect();
        mistakes.sort_by(|a, b| b.loss.total_cmp(&a.loss).then_with(|| a.image.cmp(&b.image)));
        mistakes.truncate(MISTAKES);
        let positive: Vec<Vec<bool>> =
            self.answers.iter().take(self.scores.len()).map(|a| (0..self.classes).map(|k| k == a.label).collect()).collect();
        Evaluation {
            images,
            accuracy: among(1),
            top5: (self.classes >= 6).then(|| among(5)),
            top: vec![],
            loss: self.loss / images.max(1) as f64,
            loss_name: classifier.loss_name().into(),
            views,
            averages: Averages::of(&classes),
            calibration: Calibration::of(&self.confidences, Calibration::BINS),
            regression: None,
            several: false,
            worst: vec![],
            readings: vec![],
            mean_average_precision: if self.keep_scores { mean_average_precision(&self.scores, &positive) } else { None },
            classes,
            confusion: self.confusion,
            mistakes,
            seconds,
            answers: self.answers,
        }
    }
}

/// The label as a place among the classes, how many classes come before it, and the class that comes first.
fn place(ranking: &[f64], label: i64, name: &str) -> Result<(usize, usize, usize)> {
    let slot = usize::try_from(label).ok().filter(|&l| l < ranking.len());
    let Some(label) = slot else {
        return Err(Error::data(format!("{name} has the label {label}, and the network has {} classes", ranking.len())));
    };
    if ranking.iter().any(|v| v.is_nan()) {
        return Err(Error::training(format!(
            "the network's output for {name} is not a number. Its weights have diverged, or the image's values are wrong; check the run's losses and the preprocessing"
        )));
    }
    // Among equal scores the first class wins, as in ArgMax.
    let before = |(a, x): (usize, f64), (b, y): (usize, f64)| x > y || (x == y && a < b);
    let places = || ranking.iter().copied().enumerate();
    let own = (label, ranking.get(label).copied().unwrap_or(f64::NEG_INFINITY));
    let rank = places().filter(|&other| before(other, own)).count();
    let first = places().reduce(|best, other| if before(other, best) { other } else { best }).map_or(0, |(place, _)| place);
    Ok((label, rank, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_and_ties_go_to_the_first() {
        assert_eq!(place(&[0.1, 0.5, 0.5], 1, "a").unwrap(), (1, 0, 1));
        assert_eq!(place(&[0.1, 0.5, 0.5], 2, "b").unwrap(), (2, 1, 1));
        assert!(place(&[0.0, 1.0], 2, "c").is_err());
        assert!(place(&[f64::NAN, 1.0], 1, "c").unwrap_err().to_string().contains('c'));
    }
}
