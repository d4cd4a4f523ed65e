//! Validation within a run, and which state is the best so far.

use super::Trainer;
use crate::error::{Error, Result};
use crate::storage::files::write_sealed_json;
use crate::train::evaluate::evaluate;
use crate::train::measures::Headline;
use crate::train::metrics::{Record, ValidationRecord};
use crate::train::progress::Progress;
use crate::train::run::Best;
use std::sync::atomic::AtomicBool;

impl Trainer {
    pub(super) fn validate(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<()> {
        let state = self.state()?;
        let Some((classifier, images)) = &mut self.validation else { return Ok(()) };
        progress.validating(images.folder().len());
        classifier.set_state(&self.parts.bundle.manifest.state, &state);
        let result = evaluate(classifier, images.clone(), None, self.parts.workers, stop, &mut |_, _| {});
        let found = match result {
            Err(Error::Interrupted(_)) => return Err(self.interrupted(progress)),
            other => other?,
        };
        let stopping = self.record.training.early_stopping;
        let headline = found.headline();
        let best = self.at.best.as_ref().is_none_or(|b| stopping.better((headline.score(), found.loss), (b.headline().score(), b.loss)));
        let measure = Some(headline).filter(|headline| !matches!(headline, Headline::Accuracy(_)));
        if best {
            self.save_model(self.folder.best(), &state)?;
            write_sealed_json(&self.folder.evaluation(), true, &found)?;
            self.forget_replaced()?;
            self.at.best = Some(Best { step: self.at.step, accuracy: found.accuracy, measure, loss: found.loss });
        }
        self.at.validated = self.at.step;
        let record = ValidationRecord {
            step: self.at.step,
            epoch: self.at.epoch,
            accuracy: found.accuracy,
            measure,
            loss: found.loss,
            images: found.images,
            seconds: found.seconds,
            best,
        };
        self.metrics.push(&Record::Validation(record.clone()))?;
        progress.validation(&record);
        self.patience.hear(&stopping, &record);
        Ok(())
    }

    /// Why a run ends before its last step.
    pub(super) fn ended_early(&self) -> String {
        let (patience, kept) = (self.record.training.early_stopping.patience.unwrap_or_default(), self.at.best.as_ref());
        let best = kept.map_or(String::new(), |b| format!("; the best, after step {}, is kept", b.step));
        format!("ended after step {} of {}: {patience} validations in a row brought nothing better{best}", self.at.step, self.total)
    }
}
