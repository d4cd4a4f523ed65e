//! Classes of single images, and what their features are.

use super::classifier::Classifier;
use super::readout::Scores;
use crate::data::{ImageSet, Recipe, empty_batch, images_of, load_image};
use crate::error::{Error, Result};
use ndarray::Array3;
use rayon::prelude::*;
use serde::Serialize;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

/// One possible class of an image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guess {
    /// The class's name, or its label.
    pub class: String,
    /// Its label.
    pub label: usize,
    /// Its probability, as the network and its loss mean it.
    pub probability: f64,
}

/// The most probable classes of an image, best first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The image file.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub image: PathBuf,
    /// Best first; none of a network that gives numbers.
    pub guesses: Vec<Guess>,
    /// Of a network that gives numbers: those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<f64>,
    /// What enters the classifier, where it was asked for.
    #[serde(skip)]
    pub features: Vec<f32>,
}

/// An image that could not be read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unread {
    /// The file.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub image: PathBuf,
    /// Why.
    pub error: String,
}

/// What became of images.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Predictions {
    /// Of those that could be read, in order.
    pub predictions: Vec<Prediction>,
    /// The others.
    pub unread: Vec<Unread>,
}

/// One image with what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ImageAnswer<'a> {
    /// It was read.
    Read(&'a Prediction),
    /// It was not; the reason stands in the place of classes.
    Unread(&'a Unread),
}

impl Predictions {
    /// Every image: those that could be read, in order, then the others.
    pub fn answers(&self) -> Vec<ImageAnswer<'_>> {
        self.predictions.iter().map(ImageAnswer::Read).chain(self.unread.iter().map(ImageAnswer::Unread)).collect()
    }
}

/// Images per call where the network leaves it open.
const BATCH: usize = 32;

/// Classifies image files; at most `top` classes for each. The first one that cannot be read is an error.
pub fn predict(classifier: &mut Classifier, images: &[PathBuf], top: usize) -> Result<Vec<Prediction>> {
    let found = predict_files(classifier, images, top, &AtomicBool::new(false), &mut |error, _| error.map_or(Ok(()), Err))?;
    Ok(found.predictions)
}

/// As [`predict`], for many images: they are read on all cores while the network runs. `heard` is told of each image that cannot be read, and of how many
/// images are done; where it gives an error the work ends with it.
pub fn predict_files(
    classifier: &mut Classifier,
    images: &[PathBuf],
    top: usize,
    stop: &AtomicBool,
    heard: &mut dyn FnMut(Option<Error>, usize) -> Result<()>,
) -> Result<Predictions> {
    let recipe = classifier.recipe()?;
    let batch = classifier.batch_for(images.len(), BATCH);
    let mut found = Predictions::default();
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(2);
        let recipe = &recipe;
        let reader = std::thread::Builder::new().spawn_scoped(scope, move || {
            for chunk in images.chunks(batch) {
                let read: Vec<(PathBuf, Result<Array3<f32>>)> =
                    chunk.par_iter().map(|path| (path.clone(), prepared(recipe, path))).collect();
                // Nobody listens any more when the work has ended.
                if sender.send(read).is_err() {
                    return;
                }
            }
        });
        reader.map_err(Error::io("cannot start a thread that reads", "the images"))?;
        let mut done = 0usize;
        for read in receiver {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted("prediction was stopped; nothing was written".into()));
            }
            done = done.saturating_add(read.len());
            let mut good = vec![];
            for (path, image) in read {
                match image {
                    Ok(image) => good.push((path, image)),
                    Err(error) => {
                        found.unread.push(Unread { image: path, error: error.to_string() });
                        heard(Some(error), done)?;
                    }
                }
            }
            run(classifier, recipe, &good, batch, top, &mut found.predictions)?;
            heard(None, done)?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// As [`predict`], for images in memory.
pub fn predict_images(classifier: &mut Classifier, images: &ImageSet, top: usize) -> Result<Vec<Prediction>> {
    let recipe = classifier.recipe()?;
    images.check_ready(&recipe, false)?;
    let batch = classifier.batch_for(images.len(), BATCH);
    let mut predictions = vec![];
    let all: Vec<usize> = (0..images.len()).collect();
    for chunk in all.chunks(batch) {
        let one = |&i: &usize| {
            let values = match images.values(i) {
                Some(values) => values.to_owned(),
                None => recipe.evaluate(&images.load(i)?)?,
            };
            Ok((PathBuf::from(images.name(i)), values))
        };
        let read: Vec<(PathBuf, Array3<f32>)> = chunk.par_iter().map(one).collect::<Result<_>>()?;
        run(classifier, &recipe, &read, batch, top, &mut predictions)?;
    }
    Ok(predictions)
}

/// A decoder that panics on a damaged file has not read it.
fn prepared(recipe: &Recipe, path: &Path) -> Result<Array3<f32>> {
    let crashed = |_| Err(Error::data(format!("the decoder crashed on {}. Convert or remove it", path.display())));
    let prepare = || {
        let image = load_image(path)?;
        recipe.evaluate(&image).map_err(|e| Error::data(format!("{}: {e}", path.display())))
    };
    catch_unwind(std::panic::AssertUnwindSafe(prepare)).unwrap_or_else(crashed)
}

fn run(
    classifier: &mut Classifier,
    recipe: &Recipe,
    images: &[(PathBuf, Array3<f32>)],
    batch: usize,
    top: usize,
    predictions: &mut Vec<Prediction>,
) -> Result<()> {
    if images.is_empty() {
        return Ok(());
    }
    // A network for a fixed number of images gets zeros for those that are missing.
    let rows = if classifier.fixed_batch().is_some() { batch } else { images.len() };
    let mut values = empty_batch(rows, recipe.shape(), recipe.layout());
    for ((_, image), mut place) in images.iter().zip(images_of(&mut values, recipe.layout())) {
        place.assign(image);
    }
    let (scores, features) = classifier.scores_and_features(&values.into())?;
    for (row, (path, _)) in images.iter().enumerate() {
        let features = features.as_ref().map_or(vec![], |f| f.row(row).iter().map(|v| *v as f32).collect());
        let (numbers, guesses) = match classifier.gives_numbers() {
            true => (scores.numbers(row), vec![]),
            false => (vec![], guesses(classifier, &scores, row, top)),
        };
        predictions.push(Prediction { image: path.clone(), guesses, numbers, features });
    }
    Ok(())
}

fn guesses(classifier: &Classifier, scores: &Scores, row: usize, top: usize) -> Vec<Guess> {
    let (ranking, probabilities) = (scores.ranking(row), scores.probabilities(row));
    let mut order: Vec<(usize, (f64, f64))> = ranking.into_iter().zip(probabilities).enumerate().collect();
    order.sort_by(|(a, (x, _)), (b, (y, _))| y.total_cmp(x).then(a.cmp(b)));
    let guess = |(label, (_, probability))| Guess { class: classifier.class_name(label), label, probability };
    order.into_iter().take(top).map(guess).collect()
}
