//! From a plan to a run that can take its first step.

use super::saving::bring_back;
use super::{Parts, Trainer};
use crate::bundle::{Bundle, Setting};
use crate::data::{Augment, CacheOptions, ImageDataset, ImageSet, Loader, LoaderOptions, Targets};
use crate::engine::{self, Device, Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::loss;
use crate::storage::files::write_sealed_json;
use crate::storage::folders::OutputDir;
use crate::storage::lock::Lock;
use crate::storage::run_folder::RunFolder;
use crate::train::class_balance::Sampling;
use crate::train::classifier::{Classifier, ClassifierOptions};
use crate::train::configuration::Configuration;
use crate::train::continuation::{Asked, continued};
use crate::train::early_stopping::Patience;
use crate::train::head_first;
use crate::train::made_step;
use crate::train::metrics::Record;
use crate::train::metrics_file::Metrics;
use crate::train::mixed_precision::check_precision;
use crate::train::options::{FinetuneOptions, Training};
use crate::train::progress::{Outline, Progress};
use crate::train::range_plot;
use crate::train::range_test::range_test;
use crate::train::run::{Images, RunRecord};
use crate::train::run_bundle;
use crate::train::scalars::Scalars;
use crate::train::setup::{Origin, Place, PlannedImages, RunPlan, Target};
use crate::train::step::TrainingStep;
use crate::train::watch::Watch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A run's images as what it draws its batches from and is judged by.
struct Opened {
    loader: Loader,
    validation: Option<(Classifier, Arc<ImageDataset>)>,
    test: Option<ImageSet>,
    counts: Images,
    batch: usize,
    judged: bool,
    /// Of the classes in the loss, by label.
    weights: Option<Vec<f64>>,
}

impl PlannedImages {
    fn open(self, training: &Training, options: &FinetuneOptions, bundle: &Bundle, engine: &dyn Engine) -> Result<Opened> {
        let PlannedImages { recipe, pace, training: images, validation, test, counts } = self;
        let cache = CacheOptions { by_content: options.verify_data, ..options.cache.clone() };
        let validation = match validation {
            None => None,
            Some(held_out) => {
                let classifier = Classifier::load(&bundle.eval(), Some(bundle), &ClassifierOptions::default(), engine)?;
                Some((classifier, Arc::new(ImageDataset::cached(held_out, recipe.clone(), Augment::NONE, &cache)?)))
            }
        };
        let judged = !matches!(images.targets(), Targets::Numbers(_));
        let weights = training.class_weights.by_label(images.classes(), &images.class_counts())?;
        let dataset = ImageDataset::cached(images, recipe, training.augment.clone(), &cache)?;
        let loader_options = LoaderOptions {
            last: pace.last,
            ignore_padding: true,
            threads: options.workers,
            balanced: training.sampling == Sampling::Balanced,
            ..LoaderOptions::training(pace.batch, training.seed)
        };
        let loader = Loader::new(Arc::new(dataset), loader_options)?;
        Ok(Opened { loader, validation, test, counts, batch: pace.batch, judged, weights })
    }
}

impl Target {
    /// Gives the run its folder and a lock on it. A new folder begins with these files and its bundle.
    fn open(
        self,
        options: &FinetuneOptions,
        record: &mut RunRecord,
        configuration: &Configuration,
        bundle: &Bundle,
    ) -> Result<(RunFolder, Lock)> {
        match self.place {
            Place::Resumed(folder) => {
                record.id = RunRecord::read(folder.path())?.id;
                let lock = self.lock.map_or_else(|| folder.lock(), Ok)?;
                Ok((folder, lock))
            }
            Place::New(out) => {
                let unfinished = RunFolder::new(out.path());
                write_sealed_json(&unfinished.manifest(), true, &bundle.manifest)?;
                record.write(&unfinished)?;
                configuration.write(&unfinished)?;
                run_bundle::keep(bundle, &unfinished.bundle())?;
                put_in_place(out, &RunFolder::new(&options.output), self.lock)
            }
        }
    }
}

/// The step that a run begins with, `done` of whose steps are over.
fn first_step(
    engine: &dyn Engine,
    bundle: &Bundle,
    weights: Option<&[f64]>,
    mut state: Vec<Tensor>,
    done: u64,
    head_steps: u64,
) -> Result<TrainingStep> {
    if head_steps > 0 && done == head_steps {
        head_first::restart(&bundle.manifest.state, &mut state)?;
    }
    match done < head_steps {
        true => head_first::load(engine, bundle, weights, state),
        false => made_step::load(engine, bundle, weights, state),
    }
}

impl Trainer {
    pub(super) fn new(options: &FinetuneOptions, plan: RunPlan, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<Trainer> {
        let RunPlan { mut bundle, training, mut scalars, images, origin, target, .. } = plan;
        let Origin { before, state, mut at } = origin;
        let even = images.check_even();
        if options.engine.cuda_graph {
            even?;
        } else if options.engine.device == Device::Cuda && even.is_ok() {
            progress.note(&format!(
                "each node of a step is started on its own; with {} the step is recorded and started as one, which takes less time where nodes are many and small",
                Field::CUDA_GRAPH
            ));
        }
        let engine = engine::open(&options.engine)?;
        check_precision(&bundle.manifest, &options.engine, engine.kind())?;
        let Opened { loader, validation, test, counts, batch, judged, weights } =
            images.open(&training, options, &bundle, engine.as_ref())?;
        let per_epoch = loader.batches_per_epoch();
        let mut rates = None;
        let training = match &before {
            None if training.find_lr => {
                let test = {
                    let mut step = made_step::load(engine.as_ref(), &bundle, weights.as_deref(), state.clone())?;
                    range_test(&mut step, &loader, &scalars, stop)?
                };
                progress.note(&test.summary());
                scalars.set(&Setting::LearningRate, test.suggestion)?;
                let mut training = Training { find_lr: false, ..training };
                training.scalars.insert(Setting::LearningRate, test.suggestion);
                rates = Some(test);
                training
            }
            None => training,
            Some(before) => {
                let lr = scalars.learning_rate()?;
                let (dir, more, done) = (options.output.as_path(), options.more, at.step);
                let (training, note) = continued(&Asked { dir, before, training: &training, more, done, per_epoch, lr })?;
                note.into_iter().for_each(|note| progress.note(&note));
                training
            }
        };
        let head_steps = training.head_steps(per_epoch);
        let step = first_step(engine.as_ref(), &bundle, weights.as_deref(), state, at.step, head_steps)?;
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("stopped before the first step; nothing was written".into()));
        }
        let total = training.length.steps(per_epoch);
        let watch = Watch::new(ignorance(&bundle)?);
        if let Some(before) = before.filter(|before| before.engine != engine.describe()) {
            progress.note(&format!(
                "the run began on {} and goes on on {}: its result will differ in the last digits",
                before.engine,
                engine.describe()
            ));
        }
        progress.start(&Outline {
            engine: engine.describe(),
            origin: engine.origin(),
            images: counts.training,
            validation: counts.validation,
            classes: bundle.manifest.classes.len(),
            batch,
            rate: rate(&training, &scalars)?,
            steps_per_epoch: per_epoch,
            steps: total,
            done: at.step,
        });
        let engine_options = EngineOptions { choice: engine.kind(), ..options.engine.clone() };
        let mut record = RunRecord::new(target.reference.clone(), engine.describe(), engine_options, training, counts);
        let configuration = Configuration::resolved(options, &bundle.manifest, &record)?;
        let (folder, lock) = target.open(options, &mut record, &configuration, &bundle)?;
        (at.run, at.bundle) = (record.id.clone(), Some(record.bundle.sha256.clone()));
        let first_files = || {
            record.write(&folder)?;
            if let Some(test) = &rates {
                range_plot::write(test, &folder)?;
            }
            configuration.write(&folder)?;
            Metrics::open(&folder.metrics(), at.step, at.validated)
        };
        let (metrics, past) = first_files().inspect_err(|_| {
            if !folder.has_weights()
                && let Ok(Some(old)) = folder.own_replaced()
            {
                progress.note(&bring_back(&old, &folder));
            }
        })?;
        // From here on the run needs nothing but its own folder and the images.
        if folder.bundle().is_dir() {
            bundle.dir = folder.bundle();
        }
        let mut trainer = Trainer {
            parts: Parts { bundle, scalars, weights, workers: options.workers, keep_optimizer: options.keep_optimizer, judged, test },
            folder,
            record,
            engine,
            step,
            loader,
            validation,
            metrics,
            total,
            head_steps,
            recent: VecDeque::new(),
            watch,
            patience: Patience::default(),
            recorded: 0,
            measured: 0,
            seconds: 0.0,
            wait: 0.0,
            images: 0,
            skipped: 0,
            checkpoint_every: options.checkpoint_every,
            saved: (at.step, Instant::now()),
            writing: None,
            at,
            _lock: lock,
        };
        for record in past {
            match record {
                Record::Step(step) => {
                    trainer.watch.hear(&step);
                    trainer.count(step);
                }
                Record::Validation(validation) => trainer.patience.hear(&trainer.record.training.early_stopping, &validation),
                Record::Epoch(epoch) => {
                    trainer.recorded = epoch.step;
                    trainer.measured = if epoch.distance.is_some() { epoch.step } else { trainer.measured };
                }
            }
        }
        Ok(trainer)
    }
}

/// Gives a new run its name, with a lock on it. `old` is the lock on the run that has the name; that stays beside it where it has weights.
fn put_in_place(out: OutputDir, output: &RunFolder, old: Option<Lock>) -> Result<(RunFolder, Lock)> {
    let unfinished = RunFolder::new(out.path());
    let mut lock = unfinished.lock()?;
    let replaced = output.is_run() && output.has_weights();
    let kept = output.replaced();
    if replaced {
        unfinished.note_replacing(output)?;
    }
    let committed = out.commit_keeping(replaced.then(|| kept.path()));
    // The folders may have their names also where what came after that failed.
    lock.followed_to(output.lock_path());
    if let Some(mut old) = old {
        old.followed_to(kept.lock_path());
    }
    Ok((RunFolder::new(committed?), lock))
}

/// The learning rate and what becomes of it, for people.
fn rate(training: &Training, scalars: &Scalars) -> Result<String> {
    let full = scalars.learning_rate()?;
    let warmup = match training.warmup {
        None | Some(0 | 1) => String::new(),
        Some(steps) => format!(", warm-up over {steps} steps"),
    };
    Ok(format!("{full} ({}{warmup})", training.schedule))
}

/// The data loss of a network that knows nothing: all scores alike.
fn ignorance(bundle: &Bundle) -> Result<f64> {
    let loss = match &bundle.manifest.prediction {
        Some(port) => loss::data_loss(&port.loss)?,
        // Bundles of older versions know no other.
        None => &loss::CrossEntropy,
    };
    let classes = bundle.class_count()?.ok_or_else(|| {
        Error::model(format!(
            "the bundle {} does not say how many classes its network has: run `spgraph rewrite` again",
            bundle.dir.display()
        ))
    })?;
    Ok(loss.value(loss::Activation::None, &vec![0.0; classes], 0))
}
