//! The records of a study, by what tables and figures ask for.

use crate::evaluation::cell::Phase;
use crate::evaluation::method;
use crate::evaluation::results::CellResult;
use crate::evaluation::statistics::{Comparison, Summary, compare, summary};
use crate::evaluation::study::Variant;

/// A number that a record has.
pub(super) type Measure = fn(&CellResult) -> Option<f64>;

/// Of the target's test images the share that is told right, in per cent.
pub(super) fn target(r: &CellResult) -> Option<f64> {
    Some(100.0 * r.target.accuracy)
}

/// Of the source's test images the share that its own classifier still tells right, in per cent.
pub(super) fn source(r: &CellResult) -> Option<f64> {
    r.source.as_ref().map(|s| 100.0 * s.after.accuracy)
}

/// How far the weights went, in per cent of their norm.
pub(super) fn drift(r: &CellResult) -> Option<f64> {
    r.failed.is_none().then_some(100.0 * r.drift.relative)
}

/// How much of the source network's activations the tuned network's still say: the mean over layers of the median R² of their channels, in per cent.
pub(super) fn similarity(r: &CellResult) -> Option<f64> {
    let medians = r.similarity.iter().map(|layer| layer.quartiles[1]);
    (!r.similarity.is_empty()).then(|| 100.0 * medians.sum::<f64>() / r.similarity.len() as f64)
}

/// Seconds of training for each step.
pub(super) fn step_time(r: &CellResult) -> Option<f64> {
    (r.seconds.training > 0.0).then(|| r.seconds.training / r.steps.max(1) as f64)
}

/// A source and a target.
pub(super) type PairName = (String, String);

/// Cells that differ in their seed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub pair: &'a PairName,
    pub images: usize,
    pub method: &'a str,
    pub variant: Option<&'a Variant>,
}

/// All records.
pub(super) struct Collection {
    pub cells: Vec<CellResult>,
}

impl Collection {
    fn finals(&self) -> impl Iterator<Item = &CellResult> {
        self.cells.iter().filter(|c| c.cell.phase == Phase::Final)
    }

    /// Those that have final cells, in the order of names.
    pub fn pairs(&self) -> Vec<PairName> {
        let mut found: Vec<PairName> = self.finals().map(|c| (c.cell.source.clone(), c.cell.target.clone())).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Numbers of training images of a pair's main table.
    pub fn images(&self, pair: &PairName) -> Vec<usize> {
        let of_pair = self.finals().filter(|c| c.cell.source == pair.0 && c.cell.target == pair.1 && c.cell.variant.is_none());
        let mut found: Vec<usize> = of_pair.map(|c| c.cell.images).collect();
        found.sort();
        found.dedup();
        found
    }

    /// Methods with final cells, in the order of the table of methods.
    pub fn methods(&self) -> Vec<&'static str> {
        method::names().into_iter().filter(|name| self.finals().any(|c| c.cell.method == *name)).collect()
    }

    /// Variants of a pair with so many images.
    pub fn variants(&self, pair: &PairName, images: usize) -> Vec<Variant> {
        let own = self.finals().filter(|c| c.cell.source == pair.0 && c.cell.target == pair.1 && c.cell.images == images);
        let mut found: Vec<Variant> = own.filter_map(|c| c.cell.variant.clone()).collect();
        found.sort();
        found.dedup();
        found
    }

    /// The records of a place, by seed.
    pub fn at(&self, place: Place) -> Vec<&CellResult> {
        let mut found: Vec<&CellResult> = self
            .finals()
            .filter(|c| {
                let cell = &c.cell;
                (&cell.source, &cell.target) == (&place.pair.0, &place.pair.1)
                    && cell.images == place.images
                    && cell.method == place.method
                    && cell.variant.as_ref() == place.variant
            })
            .collect();
        found.sort_by_key(|c| c.cell.seed);
        found
    }

    /// Mean and deviation over the seeds of a place.
    pub fn mean(&self, place: Place, measure: Measure) -> Option<Summary> {
        let values: Vec<f64> = self.at(place).into_iter().filter_map(measure).collect();
        summary(&values)
    }

    /// Values of two places, seed by seed.
    pub fn paired(&self, one: Place, other: Place, measure: Measure) -> Vec<(f64, f64)> {
        let others = self.at(other);
        let of = |c: &CellResult| others.iter().find(|o| o.cell.seed == c.cell.seed).and_then(|o| Some((measure(c)?, measure(o)?)));
        self.at(one).into_iter().filter_map(of).collect()
    }

    /// [`compare`] of two places.
    pub fn compared(&self, one: Place, other: Place, measure: Measure) -> Option<Comparison> {
        compare(&self.paired(one, other, measure))
    }

    /// The records of the selection of a pair's method.
    pub fn selection(&self, pair: &PairName, method: &str) -> Vec<&CellResult> {
        let of = |c: &&CellResult| c.cell.phase == Phase::Selection && c.cell.source == pair.0 && c.cell.target == pair.1;
        self.cells.iter().filter(of).filter(|c| c.cell.method == method).collect()
    }
}
