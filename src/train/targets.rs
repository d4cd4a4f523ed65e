//! What a step's targets are: labels, or soft targets, a number for every score.

use super::class_balance::{ClassWeights, Sampling};
use super::options::Training;
use crate::bundle::manifest::{Manifest, Port};
use crate::data::{Augment, Batch, TargetKind};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::loss::{self, PADDING, SoftTargets};

/// Fails where a recipe mixes images and the step takes labels, and where images are to be drawn or weighed by a class that they have not.
pub(super) fn check(training: &Training, manifest: &Manifest) -> Result<()> {
    let Training { augment, sampling, class_weights, .. } = training;
    if *class_weights != ClassWeights::None && manifest.data.target.dtype.is_float() {
        let (why, other) = match kind(manifest) {
            TargetKind::Numbers(_) => ("those of this loss have numbers".into(), "them out".into()),
            TargetKind::Several => ("those of this loss may have several".into(), "them out".into()),
            TargetKind::Class if augment.needs_soft_targets() => (
                format!("{} mixes several classes in one image", mixing(augment)),
                format!("out one of the two, these or the mixing of {}", Field::AUGMENT),
            ),
            TargetKind::Class => (
                "the bundle's step takes shares of all classes".into(),
                format!("them out, or rewrite the model without {}", Field::SOFT_TARGETS),
            ),
        };
        return Err(Error::option(Field::CLASS_WEIGHTS, format!(": images are weighed by their one class, and {why}. Leave {other}")));
    }
    if *sampling == Sampling::Balanced && kind(manifest) != TargetKind::Class {
        let why = " balanced draws images by their class, and those of this loss have several labels or numbers. Leave it out";
        return Err(Error::option(Field::SAMPLING, why));
    }
    if !augment.needs_soft_targets() || manifest.data.target.dtype.is_float() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{} mixes images, whose targets are then shares of several classes, and the bundle's step takes a single label for each. Rewrite the model with \
         {}, or leave it out of the recipe",
        mixing(augment),
        Field::SOFT_TARGETS
    )))
}

/// The operations that mix images.
fn mixing(augment: &Augment) -> String {
    augment.operations().iter().filter(|o| o.mixes()).map(|o| o.name()).collect::<Vec<_>>().join("+")
}

/// What images may have as their target for the bundle's step.
pub(super) fn kind(manifest: &Manifest) -> TargetKind {
    let targets = Targets::new(manifest);
    match (targets.scores(), targets.kind) {
        (Some(_), SoftTargets::Each) => TargetKind::Several,
        (Some(scores), SoftTargets::Numbers) => TargetKind::Numbers(scores),
        _ => TargetKind::Class,
    }
}

/// The target that a step takes, and how it reads one.
pub(super) struct Targets {
    port: Port,
    classes: Option<usize>,
    kind: SoftTargets,
}

impl Targets {
    pub fn new(manifest: &Manifest) -> Targets {
        // Bundles of the first format name none; theirs is cross-entropy.
        let named = manifest.prediction.as_ref().and_then(|p| loss::data_loss(&p.loss).ok());
        let kind = named.map_or(SoftTargets::Probabilities, |loss| loss.soft_targets());
        Targets { port: manifest.data.target.clone(), classes: manifest.class_count, kind }
    }

    /// The name of the input.
    pub fn name(&self) -> &str {
        &self.port.name
    }

    /// The number of scores where the step takes soft targets.
    fn scores(&self) -> Option<usize> {
        let last = self.port.shape.get(1).and_then(|&k| usize::try_from(k).ok());
        last.filter(|_| self.port.dtype.is_float())
    }

    /// What the step is fed for `given`: labels, of which −1 is padding, or soft targets. Fails for what it would misread.
    pub fn feed(&self, given: &Tensor) -> Result<Tensor> {
        let Some(scores) = self.scores() else {
            if given.dtype().is_float() {
                return Err(Error::data(format!(
                    "the step takes labels, not soft targets of shape {:?}. Rewrite the model with {}",
                    given.shape(),
                    Field::SOFT_TARGETS
                )));
            }
            self.check_labels(given)?;
            return Ok(given.clone());
        };
        if !given.dtype().is_float() {
            self.check_labels(given)?;
        }
        let values = soft(given, scores)?;
        self.check_soft(&values, scores)?;
        Ok(Tensor::from_floats(self.port.dtype, &[values.len().checked_div(scores).unwrap_or(0), scores], &values))
    }

    /// What the step is fed for a batch, whose images may be mixed.
    pub fn of_batch(&self, batch: &Batch) -> Result<Tensor> {
        let Some((mixed, scores)) = batch.mixed.zip(self.scores()) else {
            return match batch.mixed {
                Some(mixed) if mixed.share < 1.0 => Err(Error::internal("images were mixed for a step that takes labels")),
                _ => Ok(batch.target.clone()),
            };
        };
        if !batch.target.dtype().is_float() {
            self.check_labels(&batch.target)?;
        }
        let own = soft(&batch.target, scores)?;
        let share = f64::from(mixed.share);
        let mut values = own.clone();
        for (row, to) in values.chunks_exact_mut(scores.max(1)).enumerate().take(mixed.rows) {
            let other = own.chunks_exact(scores.max(1)).nth(mixed.partner(row)).unwrap_or_default();
            to.iter_mut().zip(other).for_each(|(to, other)| *to = *to * share + other * (1.0 - share));
        }
        Ok(Tensor::from_floats(self.port.dtype, &[values.len().checked_div(scores).unwrap_or(0), scores], &values))
    }

    /// Fails for labels that are neither a class nor −1, which the step would leave out of the loss without a word.
    fn check_labels(&self, target: &Tensor) -> Result<()> {
        let Some(classes) = self.classes else { return Ok(()) };
        match target.to_i64()?.into_iter().find(|&label| label < -1 || label >= classes as i64) {
            Some(label) => Err(Error::data(format!(
                "the label {label} is none of the {classes} classes, which are numbered from 0 on; -1 marks what is to be left out of the loss"
            ))),
            None => Ok(()),
        }
    }

    /// Fails for numbers that are none, and for what is no probability where the loss wants one.
    fn check_soft(&self, values: &[f64], scores: usize) -> Result<()> {
        for row in values.chunks_exact(scores.max(1)) {
            let bad = |why: &str| Err(Error::data(format!("the soft targets {row:?} {why}")));
            if row.iter().any(|v| !v.is_finite()) {
                return bad("are no numbers");
            }
            let padding = row.iter().all(|&v| v < 0.0);
            match self.kind {
                SoftTargets::Probabilities if !padding => {
                    let sum: f64 = row.iter().sum();
                    if row.iter().any(|&v| v < 0.0) || (sum != 0.0 && (sum - 1.0).abs() > 1e-3) {
                        return bad(
                            "are no probabilities of classes that exclude each other: they are not negative, and their sum is 1, or 0 for padding",
                        );
                    }
                }
                SoftTargets::Each if !padding && row.iter().any(|v| !(0.0..=1.0).contains(v)) => {
                    return bad("are not between 0 and 1; a row of negative numbers is padding");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `N·K` soft targets: those given, or what labels say.
fn soft(given: &Tensor, scores: usize) -> Result<Vec<f64>> {
    if given.dtype().is_float() {
        return match given.shape() {
            &[_, k] if k == scores => Ok(given.to_f64()?),
            shape => Err(Error::data(format!("the step takes {scores} soft targets for each image, these are of shape {shape:?}"))),
        };
    }
    let one = |label: i64| -> Vec<f64> {
        match label {
            label if label < 0 => vec![PADDING; scores],
            label if scores == 1 => vec![label as f64],
            label => (0..scores as i64).map(|k| if k == label { 1.0 } else { 0.0 }).collect(),
        }
    };
    Ok(given.to_i64()?.into_iter().flat_map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::augment::Mixed;
    use crate::ir::DType;

    fn targets(kind: SoftTargets, scores: i64) -> Targets {
        let port = Port { name: "target".into(), dtype: DType::F32, shape: vec![-1, scores] };
        Targets { port, classes: Some(scores.max(2) as usize), kind }
    }

    fn batch(labels: &[i64], valid: usize, mixed: Option<Mixed>) -> Batch {
        let data = Tensor::zeros(DType::F32, &[labels.len(), 1]);
        Batch { mixed, valid, ..Batch::of(data, Tensor::from_i64(&[labels.len()], labels)) }
    }

    #[test]
    fn labels_become_soft_targets_and_mixed_ones_shares() {
        let targets = targets(SoftTargets::Probabilities, 3);
        let plain = targets.feed(&Tensor::from_i64(&[2], &[2, -1])).unwrap();
        assert_eq!(
            (plain.shape(), plain.to_f64().unwrap()),
            (&[2, 3][..], [0.0, 0.0, 1.0].into_iter().chain([f64::from(PADDING as f32); 3]).collect())
        );
        // The third row only fills the batch up.
        let mixed = targets.of_batch(&batch(&[0, 2, -1], 2, Some(Mixed { rows: 2, share: 0.75 }))).unwrap();
        assert_eq!(mixed.to_f64().unwrap()[..6], [0.75, 0.0, 0.25, 0.25, 0.0, 0.75]);
        assert!(mixed.to_f64().unwrap()[6..].iter().all(|v| *v < -1e29));
        // Equal labels stay one class.
        let same = targets.of_batch(&batch(&[1, 1], 2, Some(Mixed { rows: 2, share: 0.25 }))).unwrap();
        assert_eq!(same.to_f64().unwrap(), [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_single_score_is_asked_for_the_label() {
        let one = targets(SoftTargets::Each, 1);
        assert_eq!(one.feed(&Tensor::from_i64(&[2], &[0, 1])).unwrap().to_f64().unwrap(), [0.0, 1.0]);
        assert_eq!(one.of_batch(&batch(&[0, 1], 2, Some(Mixed { rows: 2, share: 0.5 }))).unwrap().to_f64().unwrap(), [0.5, 0.5]);
    }

    #[test]
    fn what_a_step_would_misread_is_refused() {
        let given = |values: &[f64]| Tensor::from_floats(DType::F32, &[1, values.len()], values);
        let refused = |kind, values: &[f64]| targets(kind, 3).feed(&given(values)).err().map(|e| e.to_string());
        for bad in [&[0.5, 0.2, 0.2][..], &[1.5, -0.5, 0.0], &[f64::NAN, 0.0, 1.0], &[1.0, 0.0]] {
            assert!(refused(SoftTargets::Probabilities, bad).is_some(), "{bad:?}");
        }
        for good in [&[0.5, 0.25, 0.25][..], &[0.0; 3], &[PADDING; 3]] {
            assert_eq!(refused(SoftTargets::Probabilities, good), None);
        }
        assert!(refused(SoftTargets::Each, &[0.5, 1.5, 0.0]).unwrap().contains("between 0 and 1"));
        assert_eq!(refused(SoftTargets::Each, &[1.0, 1.0, 0.0]), None);
        assert_eq!(refused(SoftTargets::Numbers, &[-7.0, 1e6, 0.0]), None);
        assert!(refused(SoftTargets::Numbers, &[f64::INFINITY, 0.0, 0.0]).is_some());
        let labels = Targets {
            port: Port { name: "target".into(), dtype: DType::I64, shape: vec![-1] },
            classes: Some(3),
            kind: SoftTargets::Numbers,
        };
        assert!(labels.feed(&given(&[1.0, 0.0, 0.0])).unwrap_err().to_string().contains("takes labels"));
        assert!(labels.feed(&Tensor::from_i64(&[1], &[3])).unwrap_err().to_string().contains("none of the 3 classes"));
        assert!(labels.of_batch(&batch(&[0, 1], 2, Some(Mixed { rows: 2, share: 0.5 }))).is_err());
    }
}
