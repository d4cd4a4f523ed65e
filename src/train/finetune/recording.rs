//! What a run says of its epochs, and of a loss that rises.

use super::Trainer;
use crate::bundle::start_state;
use crate::error::Result;
use crate::field::Field;
use crate::train::distance::Distance;
use crate::train::metrics::{EpochRecord, Means, Moved, Record};
use crate::train::progress::Progress;
use crate::train::watch::Rise;

impl Trainer {
    /// Writes the record of the epoch that has just ended, or of its part before the end of the run.
    pub(super) fn record_epoch(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let (step, epoch) = (self.at.step, self.at.epoch);
        let distance = match step >= self.measured.saturating_add(EpochRecord::APART) || step == self.total {
            false => None,
            true => {
                self.measured = step;
                let state = self.state()?;
                let bundle = &self.parts.bundle;
                let found = Distance::between(&bundle.manifest.state, &state, &start_state(bundle)?)?;
                let layers = found.layers.into_iter().map(|l| (l.name, l.relative)).collect();
                Some(Moved { total: found.total, relative: found.relative, layers })
            }
        };
        let means = Means::of(self.recent.iter().filter(|r| r.epoch == epoch));
        let record = EpochRecord {
            step,
            epoch,
            lr: self.lr(),
            loss: means.loss,
            data_loss: means.data_loss,
            penalty: means.penalty,
            accuracy: means.accuracy,
            images: means.images,
            seconds: means.seconds,
            distance,
        };
        self.recorded = step;
        self.metrics.push(&Record::Epoch(record.clone()))?;
        progress.epoch(&record);
        Ok(())
    }

    /// What to say of a loss that rose far above its start.
    pub(super) fn rising(&self, rise: &Rise) -> String {
        let warmup = self.record.training.warmup.unwrap_or_default();
        format!(
            "the loss rose to {:.3} at step {}, from {:.3} at the start. Runs seldom make that good again: lower {}, or give a longer {} than {warmup} steps",
            rise.highest,
            rise.noticed,
            rise.start,
            Field::LR,
            Field::WARMUP
        )
    }
}
