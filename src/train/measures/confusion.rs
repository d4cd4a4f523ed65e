//! Which class is taken for which.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Images of one class that were told to be of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confused {
    /// The right class.
    pub label: usize,
    /// The class that was said.
    pub prediction: usize,
    /// So many images.
    pub images: u64,
}

/// The confusion matrix: rows are right classes, columns what was said. Only cells with images are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Confused>", into = "Vec<Confused>")]
pub struct Confusion {
    cells: BTreeMap<(usize, usize), u64>,
}

impl From<Vec<Confused>> for Confusion {
    fn from(cells: Vec<Confused>) -> Confusion {
        Confusion { cells: cells.into_iter().map(|c| ((c.label, c.prediction), c.images)).collect() }
    }
}

impl From<Confusion> for Vec<Confused> {
    fn from(matrix: Confusion) -> Vec<Confused> {
        matrix.cells().collect()
    }
}

impl Confusion {
    /// Counts an image.
    pub fn add(&mut self, label: usize, prediction: usize) {
        let count = self.cells.entry((label, prediction)).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// The cells with images, by row and column.
    pub fn cells(&self) -> impl Iterator<Item = Confused> {
        self.cells.iter().map(|(&(label, prediction), &images)| Confused { label, prediction, images })
    }

    /// The images in a cell.
    pub fn at(&self, label: usize, prediction: usize) -> u64 {
        self.cells.get(&(label, prediction)).copied().unwrap_or(0)
    }

    /// The cells off the diagonal, largest first.
    pub fn mistakes(&self) -> Vec<Confused> {
        let mut wrong: Vec<Confused> = self.cells().filter(|c| c.label != c.prediction).collect();
        wrong.sort_by_key(|c| (std::cmp::Reverse(c.images), c.label, c.prediction));
        wrong
    }
}
