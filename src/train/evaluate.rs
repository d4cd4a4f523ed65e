//! Accuracy and loss over an image folder.

use super::classifier::Classifier;
use crate::data::{Augment, BadImages, Dataset, ImageDataset, ImageSet, Last, Loader, LoaderOptions, Part, check_images};
use crate::error::{Error, Result};
use crate::field::Field;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Results for one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassResult {
    /// Its name, or its label.
    pub name: String,
    /// Images of the class.
    pub images: usize,
    /// Those that were told right.
    pub correct: usize,
}

/// Results over all images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images of all classes.
    pub images: usize,
    /// Share of images whose class has the highest score.
    pub accuracy: f64,
    /// Share of images whose class is among the five highest; for 6 classes and more.
    pub top5: Option<f64>,
    /// The mean of the network's own loss.
    pub loss: f64,
    /// What that is, in a few words.
    pub loss_name: String,
    /// By label; classes without images too.
    pub classes: Vec<ClassResult>,
    /// Time of the whole evaluation.
    pub seconds: f64,
}

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
}

impl EvaluationOptions {
    /// The usual options for that folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        EvaluationOptions { data: data.into(), batch: None, workers: 0, bad_images: BadImages::Refuse }
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
    let dataset = ImageDataset::new(folder, classifier.recipe()?, Augment::NONE, 0);
    let found = evaluate(classifier, Arc::new(dataset), options.batch, options.workers, stop, done)?;
    // A network may not say before it runs how many classes it has, and labels that were found without that may be wrong.
    if found.classes.len() != classes {
        return Err(Error::data(format!(
            "{} gives {classes} classes, and the network has {}. Name its classes by label with {}",
            dir.display(),
            found.classes.len(),
            Field::CLASS_NAMES
        )));
    }
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
    let start = Instant::now();
    let fixed = classifier.fixed_batch();
    let options = LoaderOptions {
        last: if fixed.is_some() { Last::Pad } else { Last::Short },
        threads: workers,
        ..LoaderOptions::evaluation(fixed.or(batch).unwrap_or(BATCH))
    };
    let total = dataset.len();
    let loader = Loader::new(dataset.clone(), options)?;
    let mut tally = Tally::default();
    for batch in loader.start(0, 0)? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("evaluation was stopped; nothing was written".into()));
        }
        let batch = batch?;
        let scores = classifier.scores(&batch.data)?;
        for (image, &index) in batch.indices.iter().enumerate().take(batch.valid) {
            let label = tally.add(&scores.ranking(image), dataset.label(index), &dataset.name(index))?;
            tally.loss += scores.loss(image, label);
        }
        done(tally.images, total);
    }
    let share = |n: usize| n as f64 / tally.images.max(1) as f64;
    let classes = tally.classes.iter().enumerate();
    Ok(Evaluation {
        images: tally.images,
        accuracy: share(tally.first),
        top5: (tally.classes.len() >= 6).then(|| share(tally.fifth)),
        loss: tally.loss / tally.images.max(1) as f64,
        loss_name: classifier.loss_name().into(),
        classes: classes.map(|(label, &(images, correct))| ClassResult { name: classifier.class_name(label), images, correct }).collect(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

#[derive(Default)]
struct Tally {
    images: usize,
    first: usize,
    fifth: usize,
    loss: f64,
    /// Images and right answers by label.
    classes: Vec<(usize, usize)>,
}

impl Tally {
    /// Counts an image whose classes have such scores. Gives its label.
    fn add(&mut self, row: &[f64], label: i64, name: &str) -> Result<usize> {
        self.classes.resize(row.len(), (0, 0));
        let slot = usize::try_from(label).ok().filter(|&l| l < row.len());
        let Some(label) = slot else {
            return Err(Error::data(format!("{name} has the label {label}, and the network has {} classes", row.len())));
        };
        if row.iter().any(|v| v.is_nan()) {
            return Err(Error::training(format!(
                "the network's output for {name} is not a number. Its weights have diverged, or the image's values are wrong; check the run's losses and the preprocessing"
            )));
        }
        // Among equal scores the first class wins, as in ArgMax.
        let rank = row.iter().enumerate().filter(|&(k, &v)| v > row[label] || (v == row[label] && k < label)).count();
        self.images += 1;
        self.first += (rank == 0) as usize;
        self.fifth += (rank < 5) as usize;
        self.classes[label].0 += 1;
        self.classes[label].1 += (rank == 0) as usize;
        Ok(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_counted_and_ties_go_to_the_first() {
        let mut tally = Tally::default();
        tally.add(&[0.1, 0.5, 0.5], 1, "a").unwrap();
        tally.add(&[0.1, 0.5, 0.5], 2, "b").unwrap();
        assert_eq!((tally.images, tally.first, tally.fifth), (2, 1, 2));
        assert_eq!(tally.classes, [(0, 0), (1, 1), (1, 0)]);
        assert!(tally.add(&[0.0, 1.0], 2, "c").is_err());
        assert!(tally.add(&[f64::NAN, 1.0], 1, "c").unwrap_err().to_string().contains('c'));
    }
}
