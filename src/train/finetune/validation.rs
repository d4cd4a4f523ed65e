//! Validation within a run, and which state is the best so far.

use super::Trainer;
use crate::error::{Error, Result};
use crate::train::evaluate::evaluate;
use crate::train::metrics::{Record, ValidationRecord};
use crate::train::progress::Progress;
use crate::train::run::Best;
use std::sync::atomic::AtomicBool;

impl Trainer {
    pub(super) fn validate(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<()> {
        let state = self.state()?;
        let Some((classifier, images)) = &mut self.validation else { return Ok(()) };
        progress.validating(images.folder().len());
        classifier.set_state(&self.prepared.bundle.manifest.state, &state);
        let result = evaluate(classifier, images.clone(), None, self.prepared.workers, stop, &mut |_, _| {});
        let found = match result {
            Err(Error::Interrupted(_)) => return Err(self.interrupted(progress)),
            other => other?,
        };
        let better = |b: &Best| (found.accuracy, -found.loss) > (b.accuracy, -b.loss);
        let best = self.at.best.as_ref().is_none_or(better);
        if best {
            self.save_model(self.folder.best(), &state)?;
            self.forget_replaced()?;
            self.at.best = Some(Best { step: self.at.step, accuracy: found.accuracy, loss: found.loss });
        }
        self.at.validated = self.at.step;
        let record = ValidationRecord {
            step: self.at.step,
            epoch: self.at.epoch,
            accuracy: found.accuracy,
            loss: found.loss,
            images: found.images,
            seconds: found.seconds,
            best,
        };
        self.metrics.push(&Record::Validation(record.clone()))?;
        progress.validation(&record);
        Ok(())
    }
}
