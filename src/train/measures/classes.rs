//! Precision, recall and F1, by class and on average, as scikit-learn's `classification_report` has them.

use super::confusion::Confusion;
use serde::{Deserialize, Serialize};

/// Results for one class.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ClassResult {
    /// Its name, or its label.
    pub name: String,
    /// Images of the class: its support.
    pub images: usize,
    /// Those that were told right.
    pub correct: usize,
    /// Images that were told to be of the class.
    #[serde(default)]
    pub predicted: usize,
    /// The share of those that are; `None` where there are none.
    #[serde(default)]
    pub precision: Option<f64>,
    /// The share of its images that were told right; `None` where it has none.
    #[serde(default)]
    pub recall: Option<f64>,
    /// The harmonic mean of both, `2·correct / (images + predicted)`; `None` where the class does not occur at all.
    #[serde(default)]
    pub f1: Option<f64>,
    /// Where images have several classes: how well the class's score puts its images before the others. `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
}

/// Means over classes.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Means {
    /// Of precision.
    pub precision: f64,
    /// Of recall.
    pub recall: f64,
    /// Of F1.
    pub f1: f64,
}

/// Means over the classes that have images or were said. What is not defined for a class counts as 0, as in scikit-learn.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Averages {
    /// Each class counts alike.
    #[serde(rename = "macro")]
    pub plain: Means,
    /// Each class counts as often as it has images.
    pub weighted: Means,
    /// The mean recall of the classes that have images.
    pub balanced_accuracy: f64,
}

impl Averages {
    /// Where there are no classes.
    pub(crate) fn none() -> Averages {
        Averages { balanced_accuracy: f64::NAN, ..Averages::default() }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.balanced_accuracy.is_nan()
    }
}

/// `a/b`, where `b` is not 0.
fn ratio(a: usize, b: usize) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}

impl ClassResult {
    /// From counts.
    pub fn new(name: String, images: usize, correct: usize, predicted: usize) -> ClassResult {
        ClassResult {
            name,
            images,
            correct,
            predicted,
            precision: ratio(correct, predicted),
            recall: ratio(correct, images),
            f1: ratio(correct.saturating_mul(2), images.saturating_add(predicted)),
            average_precision: None,
        }
    }

    /// Of all classes, by label.
    pub fn of(confusion: &Confusion, names: impl Iterator<Item = String>) -> Vec<ClassResult> {
        let names: Vec<String> = names.collect();
        let (mut images, mut predicted) = (vec![0usize; names.len()], vec![0usize; names.len()]);
        let add = |sum: Option<&mut usize>, more: u64| sum.into_iter().for_each(|n| *n = n.saturating_add(more as usize));
        for cell in confusion.cells() {
            add(images.get_mut(cell.label), cell.images);
            add(predicted.get_mut(cell.prediction), cell.images);
        }
        let counts = images.into_iter().zip(predicted).enumerate();
        let new = |((label, (images, predicted)), name)| ClassResult::new(name, images, confusion.at(label, label) as usize, predicted);
        counts.zip(names).map(new).collect()
    }
}

impl Averages {
    /// Over these classes.
    pub fn of(classes: &[ClassResult]) -> Averages {
        let present: Vec<&ClassResult> = classes.iter().filter(|c| c.images > 0 || c.predicted > 0).collect();
        let all: f64 = present.iter().map(|c| c.images as f64).sum();
        let mean = |value: fn(&ClassResult) -> Option<f64>, weight: &dyn Fn(&ClassResult) -> f64, sum: f64| {
            present.iter().map(|c| value(c).unwrap_or(0.0) * weight(c)).sum::<f64>() / sum.max(1.0)
        };
        let means = |weight: &dyn Fn(&ClassResult) -> f64, sum: f64| Means {
            precision: mean(|c| c.precision, weight, sum),
            recall: mean(|c| c.recall, weight, sum),
            f1: mean(|c| c.f1, weight, sum),
        };
        let recalls: Vec<f64> = classes.iter().filter_map(|c| c.recall).collect();
        Averages {
            plain: means(&|_| 1.0, present.len() as f64),
            weighted: means(&|c| c.images as f64, all),
            balanced_accuracy: recalls.iter().sum::<f64>() / recalls.len().max(1) as f64,
        }
    }
}
