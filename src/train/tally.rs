//! How a network's answers to a data set are counted: one loop, whatever is counted.

use super::classifier::Classifier;
use super::evaluation::Evaluation;
use super::readout::Scores;
use crate::data::{Dataset, Loader};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What counts images.
pub(super) trait Tally {
    /// Counts an image: row `row` of `scores`, which are of the image `index`.
    fn add(&mut self, scores: &Scores, row: usize, dataset: &dyn Dataset, index: usize) -> Result<()>;

    /// The numbers of a view, of which the mean over all views is taken.
    fn view(&self, scores: &Scores, row: usize) -> Vec<f64>;

    /// Images so far.
    fn len(&self) -> usize;

    /// What came of it, after so many seconds, with so many views of each image.
    fn finish(self, classifier: &Classifier, views: usize, seconds: f64) -> Evaluation;
}

/// Shows the network every image of the data set. `done` hears after each batch how many images have been seen, of how many.
pub(super) fn count(
    classifier: &mut Classifier,
    dataset: &dyn Dataset,
    loader: &Loader,
    mut tally: impl Tally,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation> {
    let start = Instant::now();
    let views = dataset.views().max(1);
    let total = dataset.len().checked_div(views).unwrap_or(0);
    // The views of an image may lie in two batches.
    let mut open: Vec<Vec<f64>> = vec![];
    for batch in loader.start(0, 0)? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("evaluation was stopped; nothing was written".into()));
        }
        let batch = batch?;
        let scores = classifier.scores(&batch.data)?;
        for (row, &index) in batch.indices.iter().enumerate().take(batch.valid) {
            if views == 1 {
                tally.add(&scores, row, dataset, index)?;
                continue;
            }
            open.push(tally.view(&scores, row));
            if open.len() == views {
                tally.add(&scores.of_mean(mean(&open))?, 0, dataset, index)?;
                open.clear();
            }
        }
        done(tally.len(), total);
    }
    Ok(tally.finish(classifier, views, start.elapsed().as_secs_f64()))
}

/// Of vectors of one length.
fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let first = rows.first().map_or(0, Vec::len);
    (0..first).map(|k| rows.iter().filter_map(|row| row.get(k)).sum::<f64>() / rows.len() as f64).collect()
}
