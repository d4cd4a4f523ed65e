//! The training loop.

mod recording;
mod saving;
mod start;
mod validation;
mod writing;

use super::checkpoint::Checkpoint;
use super::classifier::Classifier;
use super::early_stopping::Patience;
use super::full_disk;
use super::head_first;
use super::made_step;
use super::metrics::{Record, StepRecord};
use super::metrics_file::Metrics;
use super::options::{Existing, FinetuneOptions};
use super::progress::Progress;
use super::run::{Notes, RunRecord, RunResult, Status};
use super::scalars::Scalars;
use super::setup::prepare;
use super::step::TrainingStep;
use super::watch::Watch;
use crate::bundle::{Bundle, Setting};
use crate::data::{Batch, ImageDataset, ImageSet, Loader, Stream};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::storage::files::write_sealed_json;
use crate::storage::lock::Lock;
use crate::storage::notices;
use crate::storage::run_folder::RunFolder;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use writing::Writing;

/// Checkpoints at ends of epochs are at least this far apart.
const CHECKPOINT_GAP: Duration = Duration::from_secs(60);

/// Fine-tunes as `options` say and writes a run folder.
///
/// The result depends on the bundle, the images, [`FinetuneOptions::training`] and the engine, and on nothing else: an
/// interrupted run that is resumed ends with the same bits. When `stop` becomes true the current step is finished, a
/// checkpoint is written, and the error is [`Error::Interrupted`]. A loss that is no number is [`Error::Training`].
pub fn finetune(options: &FinetuneOptions, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunResult> {
    finetune_opened(options, Bundle::open(&options.bundle)?, progress, stop)
}

/// As [`finetune`], with the bundle of the options, opened.
pub(super) fn finetune_opened(
    options: &FinetuneOptions,
    bundle: Bundle,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<RunResult> {
    let plan = prepare(options, bundle, progress, stop)?;
    let notes: Vec<String> = plan.notes.iter().cloned().chain(notices::take()).collect();
    notes.iter().for_each(|note| progress.note(note));
    let resumed = options.existing == Existing::Resume;
    let advised = |error| if resumed { full_disk::advised(error, &options.output) } else { error };
    let mut trainer = Trainer::new(options, plan, progress, stop).map_err(advised)?;
    let result = write_sealed_json(&trainer.folder.notes(), true, &Notes { notes }).and_then(|()| trainer.run(progress, stop));
    progress.finish();
    if let Err(error) = &result {
        // Whether that one is whole decides what is left of the run; the first error is the one to report.
        let _ = trainer.end_checkpoint(progress);
        if let Some(note) = trainer.give_back() {
            progress.note(&note);
            return result;
        }
        trainer.record.status = if matches!(error, Error::Interrupted(_)) { Status::Interrupted } else { Status::Failed };
        // The first error is the one to report.
        let _ = trainer.record.write(&trainer.folder);
    }
    result.map_err(|error| full_disk::advised(error, trainer.folder.path()))
}

struct Trainer {
    parts: Parts,
    folder: RunFolder,
    record: RunRecord,
    engine: Box<dyn Engine>,
    step: TrainingStep,
    loader: Loader,
    validation: Option<(Classifier, Arc<ImageDataset>)>,
    metrics: Metrics,
    at: Checkpoint,
    total: u64,
    /// So many steps, the first ones, train the head alone.
    head_steps: u64,
    /// The last epoch's steps.
    recent: VecDeque<StepRecord>,
    watch: Watch,
    patience: Patience,
    /// The step of the last [`EpochRecord`], and of the last one with a distance.
    recorded: u64,
    measured: u64,
    seconds: f64,
    wait: f64,
    images: u64,
    /// Steps that left the state as it was.
    skipped: u64,
    checkpoint_every: Option<u64>,
    saved: (u64, Instant),
    /// The last checkpoint, until it is known to be whole. Lies before the lock, which is given back after it.
    writing: Option<Writing>,
    /// Nobody else writes into the folder.
    _lock: Lock,
}

/// What is left of the plan after the folders were opened.
struct Parts {
    bundle: Bundle,
    scalars: Scalars,
    /// Of the classes in the loss, by label.
    weights: Option<Vec<f64>>,
    workers: usize,
    keep_optimizer: bool,
    /// Whether an answer can be right: not where the targets are numbers.
    judged: bool,
    /// The images that nothing is chosen by.
    test: Option<ImageSet>,
}

impl Trainer {
    fn per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch().max(1) as u64
    }

    /// Epochs that are over.
    fn epoch(&self) -> u64 {
        self.at.step.checked_div(self.per_epoch()).unwrap_or(0)
    }

    fn count(&mut self, step: StepRecord) {
        self.seconds += step.seconds;
        self.wait += step.wait;
        self.skipped = self.skipped.saturating_add(step.skipped.into());
        self.images = self.images.saturating_add(step.images as u64);
        if self.recent.len() as u64 >= self.per_epoch() {
            self.recent.pop_front();
        }
        self.recent.push_back(step);
    }

    fn run(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunResult> {
        let per_epoch = self.per_epoch();
        let mut stream = self.loader.stream(self.epoch(), self.at.step.checked_rem(per_epoch).unwrap_or(0) as usize, None)?;
        // A run that goes on at the border of its two phases is in the second one already.
        let mut resumed = true;
        // A batch that has gone up to the device already.
        let mut ahead = None;
        loop {
            let step = self.at.step;
            let ended = step == self.total || self.record.training.ended_at(step, per_epoch as usize);
            let epoch_ended = step > 0 && (step.is_multiple_of(per_epoch) || ended);
            if epoch_ended && self.recorded < step {
                self.record_epoch(progress)?;
            }
            if self.validation.is_some() && epoch_ended && self.at.validated < step {
                self.validate(progress, stop)?;
                if step < self.total && self.patience.is_over(&self.record.training.early_stopping) {
                    progress.note(&self.ended_early());
                    break;
                }
            }
            if step >= self.total {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(self.interrupted(progress));
            }
            let due = match self.checkpoint_every {
                Some(every) => step.is_multiple_of(every),
                None => epoch_ended && self.saved.1.elapsed() >= CHECKPOINT_GAP,
            };
            if self.writing.as_ref().is_some_and(Writing::is_over) {
                self.end_checkpoint(progress)?;
            }
            if due && step > self.saved.0 {
                self.begin_checkpoint(progress)?;
            }
            if step > 0 && step == self.head_steps && !resumed {
                self.train_everything()?;
            }
            resumed = false;
            let start = Instant::now();
            let batch = match ahead.take() {
                Some(batch) => batch,
                None => stream.next().ok_or_else(|| Error::data("the images ended too early"))?,
            }?;
            batch.notes.iter().for_each(|note| progress.note(note));
            let (record, next) = self.step(&batch, start, &mut stream)?;
            ahead = next;
            self.metrics.push(&Record::Step(record.clone()))?;
            progress.step(&record);
            if let Some(rise) = self.watch.hear(&record) {
                progress.note(&self.rising(&rise));
            }
            self.count(record);
        }
        drop(stream);
        self.complete(progress)
    }

    /// Goes from the first phase to the second.
    fn train_everything(&mut self) -> Result<()> {
        let mut state = self.state()?;
        let bundle = &self.parts.bundle;
        head_first::restart(&bundle.manifest.state, &mut state)?;
        self.step = made_step::load(self.engine.as_ref(), bundle, self.parts.weights.as_deref(), state)?;
        Ok(())
    }

    /// The scalars of the step after so many, and its learning rate.
    fn scalars(&self, step: u64) -> Result<(Scalars, f64)> {
        let scalars = &self.parts.scalars;
        let full = scalars.learning_rate()?;
        let per_epoch = self.loader.batches_per_epoch();
        let total = self.record.training.total_at(step, per_epoch);
        let lr = full * self.record.training.lr_factor(step, total, per_epoch);
        Ok((scalars.clone().with(&Setting::LearningRate, lr)?, lr))
    }

    /// Runs a step. The batch of the one after it may come back, which is on the device then: where that one is of this phase, and has been waiting.
    fn step(&mut self, batch: &Batch, start: Instant, stream: &mut Stream) -> Result<(StepRecord, Option<Result<Batch>>)> {
        let (scalars, lr) = self.scalars(self.at.step)?;
        let following = self.at.step.saturating_add(1);
        let another = following < self.total && following != self.head_steps;
        let next = if another { Some(self.scalars(following)?.0) } else { None };
        let (found, next) = self.step.run_ahead(batch, &scalars, &mut || Some((next.clone()?, stream.waiting()?)))?;
        let record = StepRecord {
            step: self.at.step.saturating_add(1),
            epoch: self.epoch().saturating_add(1),
            lr,
            loss: found.loss,
            data_loss: found.data_loss,
            penalty: found.penalty,
            correct: self.parts.judged.then_some(found.correct),
            loss_scale: found.loss_scale,
            skipped: found.skipped,
            images: batch.valid,
            seconds: start.elapsed().as_secs_f64(),
            wait: batch.wait.as_secs_f64(),
        };
        if !record.loss.is_finite() {
            return Err(self.diverged(&format!("the loss is {} at step {}", record.loss, record.step), lr));
        }
        self.at.step = record.step;
        self.at.epoch = record.epoch;
        Ok((record, next))
    }
}
