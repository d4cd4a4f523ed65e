//! Classes of single images.

use super::classifier::Classifier;
use crate::data::{empty_batch, images_of, load_image};
use crate::error::{Error, Result};
use serde::Serialize;
use std::path::PathBuf;

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
    pub image: PathBuf,
    /// Best first.
    pub guesses: Vec<Guess>,
}

/// Classifies image files; at most `top` classes for each.
pub fn predict(classifier: &mut Classifier, images: &[PathBuf], top: usize) -> Result<Vec<Prediction>> {
    let recipe = classifier.recipe()?;
    let batch = classifier.batch_for(images.len());
    let mut predictions = vec![];
    for chunk in images.chunks(batch) {
        // A network for a fixed number of images gets zeros for those that are missing.
        let mut values = empty_batch(batch, recipe.shape(), recipe.layout());
        for (path, mut image) in chunk.iter().zip(images_of(&mut values, recipe.layout())) {
            if path.is_dir() {
                return Err(Error::data(format!("{} is a folder; give the image files in it", path.display())));
            }
            image.assign(&recipe.evaluate(&load_image(path)?)?);
        }
        let scores = classifier.scores(&values.into())?;
        for (image, path) in chunk.iter().enumerate() {
            let (row, probabilities) = (scores.ranking(image), scores.probabilities(image));
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            let guess = |label: usize| Guess { class: classifier.class_name(label), label, probability: probabilities[label] };
            predictions.push(Prediction { image: path.clone(), guesses: order.into_iter().take(top).map(guess).collect() });
        }
    }
    Ok(predictions)
}
