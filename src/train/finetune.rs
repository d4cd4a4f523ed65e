//! The training loop.

use super::checkpoint::{self, Checkpoint, not_finite};
use super::classifier::{Classifier, ClassifierOptions};
use super::distance::Distance;
use super::evaluate::evaluate;
use super::head_first;
use super::metrics::{Metrics, Record, StepRecord, ValidationRecord};
use super::options::FinetuneOptions;
use super::progress::{Outline, Progress};
use super::run::{Best, Results, RunRecord, RunResult, Status};
use super::scalars::Scalars;
use super::setup::{Place, RunPlan, prepare};
use super::step::TrainingStep;
use crate::bundle::{Bundle, Setting, start_state};
use crate::data::{Augment, Batch, ImageDataset, Loader, LoaderOptions};
use crate::engine::{self, Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::storage::files::write_json;
use crate::storage::run_folder::RunFolder;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Checkpoints at ends of epochs are at least this far apart.
const CHECKPOINT_GAP: Duration = Duration::from_secs(60);

/// Fine-tunes as `options` say and writes a run folder.
///
/// The result depends on the bundle, the images, [`FinetuneOptions::training`] and the engine, and on nothing else: an
/// interrupted run that is resumed ends with the same bits. When `stop` becomes true the current step is finished, a
/// checkpoint is written, and the error is [`Error::Interrupted`]. A loss that is no number is [`Error::Training`].
pub fn finetune(options: &FinetuneOptions, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunResult> {
    let prepared = prepare(options, progress, stop)?;
    for note in &prepared.notes {
        progress.note(note);
    }
    let mut trainer = Trainer::new(options, prepared, progress, stop)?;
    let result = trainer.run(progress, stop);
    progress.finish();
    if let Err(error) = &result {
        trainer.record.status = if matches!(error, Error::Interrupted(_)) { Status::Interrupted } else { Status::Failed };
        // The first error is the one to report.
        let _ = trainer.record.write(&trainer.folder);
    }
    result
}

struct Trainer {
    prepared: Parts,
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
    seconds: f64,
    wait: f64,
    images: u64,
    checkpoint_every: Option<u64>,
    saved: (u64, Instant),
}

/// What is left of [`RunPlan`] after the folders were opened.
struct Parts {
    bundle: Bundle,
    scalars: Scalars,
    workers: usize,
}

impl Trainer {
    fn new(options: &FinetuneOptions, prepared: RunPlan, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<Trainer> {
        let RunPlan { bundle, training, scalars, batch, recipe, images, validation, reference, counts, place, mut state, at, .. } =
            prepared;
        let engine = engine::open(&options.engine)?;
        let held_out = match validation {
            None => None,
            Some(folder) => {
                let classifier = Classifier::load(&bundle.eval(), Some(&bundle), &ClassifierOptions::default(), engine.as_ref())?;
                Some((classifier, Arc::new(ImageDataset::new(folder, recipe.clone(), Augment::NONE, ImageDataset::CACHE))))
            }
        };
        let dataset = ImageDataset::new(images, recipe, training.augment, ImageDataset::CACHE);
        let loader_options = LoaderOptions { threads: options.workers, ..LoaderOptions::training(batch, training.seed) };
        let loader = Loader::new(Arc::new(dataset), loader_options)?;
        let head_steps = training.head_steps(loader.batches_per_epoch());
        if head_steps > 0 && at.step == head_steps {
            head_first::restart(&bundle.manifest.state, &mut state)?;
        }
        let step = match at.step < head_steps {
            true => head_first::load(engine.as_ref(), &bundle, state)?,
            false => TrainingStep::load(engine.as_ref(), &bundle, state)?,
        };
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("stopped before the first step; nothing was written".into()));
        }
        let total = training.length.steps(loader.batches_per_epoch());
        if let Place::Resumed(folder) = &place {
            let before = RunRecord::read(folder.path())?.engine;
            if before != engine.describe() {
                progress.note(&format!(
                    "the run began on {before} and goes on on {}: its result will differ in the last digits",
                    engine.describe()
                ));
            }
        }
        progress.start(&Outline {
            engine: engine.describe(),
            origin: engine.origin(),
            images: counts.training,
            validation: counts.validation,
            classes: bundle.manifest.classes.len(),
            batch,
            steps_per_epoch: loader.batches_per_epoch(),
            steps: total,
            done: at.step,
        });
        let engine_options = EngineOptions { choice: engine.kind(), ..options.engine.clone() };
        let record = RunRecord::new(reference, engine.describe(), engine_options, training, counts);
        let folder = match place {
            Place::Resumed(folder) => folder,
            Place::New(out) => {
                let unfinished = RunFolder::new(out.path());
                write_json(&unfinished.manifest(), true, &bundle.manifest)?;
                record.write(&unfinished)?;
                RunFolder::new(out.commit()?)
            }
        };
        record.write(&folder)?;
        let (metrics, past) = Metrics::open(&folder.metrics(), at.step, at.validated)?;
        let mut trainer = Trainer {
            prepared: Parts { bundle, scalars, workers: options.workers },
            folder,
            record,
            engine,
            step,
            loader,
            validation: held_out,
            metrics,
            total,
            head_steps,
            recent: VecDeque::new(),
            seconds: 0.0,
            wait: 0.0,
            images: 0,
            checkpoint_every: options.checkpoint_every,
            saved: (at.step, Instant::now()),
            at,
        };
        for record in past {
            if let Record::Step(step) = record {
                trainer.count(step);
            }
        }
        Ok(trainer)
    }

    fn per_epoch(&self) -> u64 {
        self.loader.batches_per_epoch().max(1) as u64
    }

    fn count(&mut self, step: StepRecord) {
        self.seconds += step.seconds;
        self.wait += step.wait;
        self.images += step.images as u64;
        if self.recent.len() as u64 >= self.per_epoch() {
            self.recent.pop_front();
        }
        self.recent.push_back(step);
    }

    fn run(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunResult> {
        let per_epoch = self.per_epoch();
        let mut stream = self.loader.stream(self.at.step / per_epoch, (self.at.step % per_epoch) as usize, None)?;
        // A run that goes on at the border of its two phases is in the second one already.
        let mut resumed = true;
        loop {
            let step = self.at.step;
            let epoch_ended = step > 0 && (step.is_multiple_of(per_epoch) || step == self.total);
            if self.validation.is_some() && epoch_ended && self.at.validated < step {
                self.validate(progress, stop)?;
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
            if due && step > self.saved.0 {
                self.save_checkpoint(progress)?;
            }
            if step > 0 && step == self.head_steps && !resumed {
                self.train_everything()?;
            }
            resumed = false;
            let start = Instant::now();
            let batch = stream.next().ok_or_else(|| Error::data("the images ended too early"))??;
            let record = self.step(&batch, start)?;
            self.metrics.push(&Record::Step(record.clone()))?;
            progress.step(&record);
            self.count(record);
        }
        drop(stream);
        self.complete()
    }

    /// Goes from the first phase to the second.
    fn train_everything(&mut self) -> Result<()> {
        let mut state = self.state()?;
        let bundle = &self.prepared.bundle;
        head_first::restart(&bundle.manifest.state, &mut state)?;
        self.step = TrainingStep::load(self.engine.as_ref(), bundle, state)?;
        Ok(())
    }

    fn step(&mut self, batch: &Batch, start: Instant) -> Result<StepRecord> {
        let scalars = &self.prepared.scalars;
        let full = scalars.get(&Setting::LearningRate).ok_or_else(|| Error::model("the bundle's step has no learning rate"))?;
        let lr = full * self.record.training.lr_factor(self.at.step, self.total, self.head_steps);
        let scalars = scalars.clone().with(&Setting::LearningRate, lr)?;
        let found = self.step.run(&batch.data, &batch.target, &scalars)?;
        let record = StepRecord {
            step: self.at.step + 1,
            epoch: self.at.step / self.per_epoch() + 1,
            lr,
            loss: found.loss,
            data_loss: found.data_loss,
            penalty: found.penalty,
            correct: found.correct,
            images: batch.valid,
            seconds: start.elapsed().as_secs_f64(),
            wait: batch.wait.as_secs_f64(),
        };
        if !record.loss.is_finite() {
            return Err(self.diverged(&format!("the loss is {} at step {}", record.loss, record.step), lr));
        }
        self.at.step = record.step;
        self.at.epoch = record.epoch;
        Ok(record)
    }

    /// The error for numbers that are none.
    fn diverged(&self, what: &str, lr: f64) -> Error {
        let path = self.folder.checkpoint();
        let kept = match path.is_file() {
            true => format!("The checkpoint of step {}, {}, is unharmed", self.saved.0, path.display()),
            false => "No checkpoint was written".into(),
        };
        Error::training(format!(
            "{what}, with a learning rate of {lr:e}. Lower {}; if that does not help, check that {} of `spgraph rewrite` are what the network \
             was trained with. {kept}",
            Field::LR,
            Field::PREPROCESSING
        ))
    }

    fn lr(&self) -> f64 {
        self.recent.back().map_or(0.0, |r| r.lr)
    }

    /// The current state, all of it numbers.
    fn state(&mut self) -> Result<Vec<Tensor>> {
        let state = self.step.state()?;
        match not_finite(&self.prepared.bundle.manifest.state, &state)? {
            Some(name) => Err(self.diverged(&format!("`{name}` has values that are no numbers after step {}", self.at.step), self.lr())),
            None => Ok(state),
        }
    }

    fn save_checkpoint(&mut self, progress: &mut dyn Progress) -> Result<()> {
        let state = self.state()?;
        let path = self.folder.checkpoint();
        checkpoint::write(&path, &self.at, self.prepared.bundle.manifest.state.iter().zip(&state))?;
        self.saved = (self.at.step, Instant::now());
        progress.checkpoint(self.at.step, &path);
        Ok(())
    }

    /// Writes a checkpoint and says how to go on.
    fn interrupted(&mut self, progress: &mut dyn Progress) -> Error {
        if self.at.step == 0 {
            return Error::Interrupted("stopped before the first step; there is nothing to resume".into());
        }
        match self.save_checkpoint(progress) {
            Err(error) => error,
            Ok(()) => Error::Interrupted(format!(
                "stopped after step {} of {}; the checkpoint is {}. To go on: spgraph finetune {} {} {}",
                self.at.step,
                self.total,
                self.folder.checkpoint().display(),
                Field::RESUME,
                Field::OUTPUT,
                self.folder.path().display()
            )),
        }
    }

    /// Writes the model's part of the state: what evaluation and export need.
    fn save_model(&self, path: PathBuf, state: &[Tensor]) -> Result<()> {
        let states = self.prepared.bundle.manifest.state.iter().zip(state);
        // Without what differs between a run that was interrupted and one that was not.
        let at = Checkpoint::new(self.at.step, self.at.epoch, self.at.seed);
        checkpoint::write(&path, &at, states.filter(|(s, _)| s.role != crate::bundle::manifest::Role::Optimizer))
    }

    fn validate(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<()> {
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

    fn complete(&mut self) -> Result<RunResult> {
        let state = self.state()?;
        let bundle = &self.prepared.bundle;
        self.save_model(self.folder.state(), &state)?;
        let distance = Distance::between(&bundle.manifest.state, &state, &start_state(bundle)?)?;
        let count = self.recent.len().max(1) as f64;
        let mean = |f: fn(&StepRecord) -> f64| self.recent.iter().map(f).sum::<f64>() / count;
        let seen: usize = self.recent.iter().map(|r| r.images).sum();
        let results = Results {
            steps: self.at.step,
            loss: mean(|r| r.loss),
            data_loss: mean(|r| r.data_loss),
            penalty: mean(|r| r.penalty),
            accuracy: self.recent.iter().map(|r| r.correct).sum::<u64>() as f64 / seen.max(1) as f64,
            best: self.at.best.clone(),
            seconds: self.seconds,
            images_per_second: self.images as f64 / self.seconds.max(1e-9),
            wait: self.wait / self.seconds.max(1e-9),
            distance,
        };
        self.record.status = Status::Complete;
        self.record.results = Some(results.clone());
        self.record.write(&self.folder)?;
        // The final state takes its place; it is as large as everything else together.
        let path = self.folder.checkpoint();
        if path.is_file() {
            std::fs::remove_file(&path).map_err(Error::io("cannot remove", &path))?;
        }
        Ok(RunResult { path: self.folder.path().to_path_buf(), results })
    }
}
