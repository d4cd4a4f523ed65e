//! From a model or a bundle to a tuned model.

use super::choices::{Loss, Penalty};
use super::rewriting::Rewrite;
use super::source::Source;
use crate::bundle::{HeadOption, Setting};
use crate::data::{Augment, BadImages, ImageSet};
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::report::write_run_report;
use crate::train::job::{self, Job, JobResult};
use crate::train::{ClassWeights, Configuration, Existing, GivenImages, Length, Progress, Sampling, Schedule, Silent, Validation};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A fine-tuning: rewriting, checks of the images, training, evaluation and export in one run, as `spgraph finetune` does it.
///
/// ```no_run
/// use spgraph::prelude::*;
///
/// # fn main() -> spgraph::Result<()> {
/// let run = Finetune::model("resnet50.onnx", "photos")
///     .rewriting(Rewrite::new().penalty(Penalty::L2Sp).alpha(0.05).freeze_stages(1))
///     .validation_split(0.2)
///     .epochs(20)
///     .augment(Augment::NONE.with(FlipCrop::default()))
///     .patience(5)
///     .run()?;
/// println!("{}", run.run.path.display());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is trained before `run`"]
pub struct Finetune {
    configuration: Configuration,
    images: GivenImages,
    output: Option<PathBuf>,
    existing: Existing,
    more: Option<Length>,
    /// What makes no sense, for the end.
    wrong: Option<&'static str>,
}

impl Finetune {
    fn new(configuration: Configuration) -> Finetune {
        Finetune { configuration, images: GivenImages::default(), output: None, existing: Existing::Refuse, more: None, wrong: None }
    }

    /// Of an ONNX model, with a new classifier for the classes of the images.
    pub fn model(model: impl Into<PathBuf>, data: impl Into<Source>) -> Finetune {
        let mut configuration = Configuration { model: Some(model.into()), ..Configuration::default() };
        configuration.rewriting.head = HeadOption::Classes(0);
        Finetune::new(configuration).data(data)
    }

    /// Of a bundle, whose rewriting is decided.
    pub fn bundle(bundle: impl Into<PathBuf>, data: impl Into<Source>) -> Finetune {
        Finetune::new(Configuration { bundle: Some(bundle.into()), ..Configuration::default() }).data(data)
    }

    /// As a configuration says: a TOML file such as the `config.toml` of a run.
    pub fn configured(file: impl AsRef<Path>) -> Result<Finetune> {
        Ok(Finetune::new(Configuration::read(file.as_ref())?))
    }

    /// Goes on with a run, as it was asked for.
    pub fn resume(run: impl AsRef<Path>) -> Result<Finetune> {
        let mut found = Finetune::new(Configuration::of_run(run.as_ref())?);
        (found.existing, found.output) = (Existing::Resume, Some(run.as_ref().into()));
        Ok(found)
    }

    /// Changes anything of the configuration.
    pub fn with(mut self, change: impl FnOnce(&mut Configuration)) -> Finetune {
        change(&mut self.configuration);
        self
    }

    /// The images to learn from.
    pub fn data(mut self, data: impl Into<Source>) -> Finetune {
        self.configuration.training.data = path(&mut self.images.training, data.into());
        self
    }

    /// Images to choose the best state by.
    pub fn validation(mut self, data: impl Into<Source>) -> Finetune {
        self.configuration.training.validation = Validation::Folder(path(&mut self.images.validation, data.into()));
        self
    }

    /// So many of the images of each class are held out to choose the best state by.
    pub fn validation_split(self, share: f64) -> Finetune {
        self.with(|c| c.training.validation = Validation::Split(share))
    }

    /// Images to judge the finished network by, and nothing else.
    pub fn test(mut self, data: impl Into<Source>) -> Finetune {
        self.configuration.training.test = Some(path(&mut self.images.test, data.into()));
        self
    }

    /// How the model is rewritten. Of a bundle that is decided.
    pub fn rewriting(mut self, rewriting: Rewrite) -> Finetune {
        let head = self.configuration.rewriting.head.clone();
        self.configuration.rewriting = rewriting.options().clone();
        match rewriting.head_given() {
            true => self.configuration.head_given = true,
            false => self.configuration.rewriting.head = head,
        }
        if self.configuration.model.is_none() {
            self.wrong = Some("a bundle's rewriting is decided: give the model to rewrite it otherwise");
        }
        self
    }

    /// What holds the parameters at their starting point.
    pub fn penalty(self, penalty: Penalty) -> Finetune {
        self.with(|c| c.rewriting.penalty = penalty.name().into())
    }

    /// What is minimised on the images.
    pub fn loss(self, loss: Loss) -> Finetune {
        self.with(|c| c.rewriting.loss = Some(loss.name().into()))
    }

    /// Passes over the images.
    pub fn epochs(self, count: u64) -> Finetune {
        self.with(|c| c.training.length = Length::Epochs(count))
    }

    /// Training steps.
    pub fn steps(self, count: u64) -> Finetune {
        self.with(|c| c.training.length = Length::Steps(count))
    }

    /// So many passes more than the run that is resumed.
    pub fn more_epochs(mut self, count: u64) -> Finetune {
        self.more = Some(Length::Epochs(count));
        self
    }

    /// The learning rate, or another of the step's scalars.
    pub fn scalar(self, setting: Setting, value: f64) -> Finetune {
        self.with(|c| {
            c.training.scalars.insert(setting, value);
        })
    }

    /// The learning rate.
    pub fn lr(self, lr: f64) -> Finetune {
        self.scalar(Setting::LearningRate, lr)
    }

    /// The learning rate is found by a range test.
    pub fn find_lr(self) -> Finetune {
        self.with(|c| c.training.find_lr = true)
    }

    /// The learning rate over time.
    pub fn schedule(self, schedule: Schedule) -> Finetune {
        self.with(|c| c.training.schedule = schedule)
    }

    /// Steps in which the rate grows to the full one.
    pub fn warmup(self, steps: u64) -> Finetune {
        self.with(|c| c.training.warmup = Some(steps))
    }

    /// Random changes to images: `Augment::NONE.with(FlipCrop::default())`, or `"flip-crop:4".parse()?`.
    pub fn augment(self, augment: Augment) -> Finetune {
        self.with(|c| c.training.augment = augment)
    }

    /// What images of each class weigh in the loss.
    pub fn class_weights(self, weights: ClassWeights) -> Finetune {
        self.with(|c| c.training.class_weights = weights)
    }

    /// Every class comes equally often in an epoch.
    pub fn balanced(self) -> Finetune {
        self.with(|c| c.training.sampling = Sampling::Balanced)
    }

    /// The run ends after so many validations that brought nothing better.
    pub fn patience(self, validations: u64) -> Finetune {
        self.with(|c| c.training.early_stopping.patience = Some(validations))
    }

    /// Images in each step.
    pub fn batch(self, images: usize) -> Finetune {
        self.with(|c| match c.model.is_some() {
            true => c.rewriting.batch = crate::import::BatchSize::Fixed(images),
            false => c.training.batch = Some(images),
        })
    }

    /// Decides the order of the images, the augmentation and the split; of a model also the new classifier's weights.
    pub fn seed(self, seed: u64) -> Finetune {
        self.with(|c| (c.training.seed, c.rewriting.seed) = (seed, if c.model.is_some() { seed } else { c.rewriting.seed }))
    }

    /// What becomes of images that cannot be read.
    pub fn bad_images(self, what: BadImages) -> Finetune {
        self.with(|c| c.training.bad_images = what)
    }

    /// The runtime.
    pub fn engine(self, engine: EngineOptions) -> Finetune {
        self.with(|c| c.engine = engine)
    }

    /// Threads that load images.
    pub fn workers(self, threads: usize) -> Finetune {
        self.with(|c| c.execution.workers = threads)
    }

    /// The run's folder; without it a new one in `runs/`.
    pub fn output(mut self, folder: impl Into<PathBuf>) -> Finetune {
        self.output = Some(folder.into());
        self
    }

    /// What the run is called in `runs/`.
    pub fn name(self, name: impl Into<String>) -> Finetune {
        self.with(|c| c.name = Some(name.into()))
    }

    /// A run that is there is replaced.
    pub fn replace(mut self) -> Finetune {
        self.existing = Existing::Replace;
        self
    }

    /// The configuration as it is.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Does it.
    pub fn run(&self) -> Result<JobResult> {
        self.watched(&mut Silent)
    }

    /// Does it, and tells `progress` what happens.
    pub fn watched(&self, progress: &mut dyn Progress) -> Result<JobResult> {
        self.until(&AtomicBool::new(false), progress)
    }

    /// The same. When `stop` becomes true the step is finished, a checkpoint written, and the error is [`Error::Interrupted`].
    pub fn until(&self, stop: &AtomicBool, progress: &mut dyn Progress) -> Result<JobResult> {
        if let Some(why) = self.wrong {
            return Err(Error::usage(why));
        }
        let job = Job {
            configuration: self.configuration.clone(),
            output: self.output.clone(),
            existing: self.existing,
            more: self.more,
            images: self.images.clone(),
        };
        let result = job::run(&job, &|_, _| Ok(()), progress, stop)?;
        // The weights are there: a page that cannot be written is no reason to call the run failed.
        if let Err(error) = write_run_report(&result.run.path, None) {
            progress.note(&format!("the run is complete, but its page is not: {error}"));
        }
        Ok(result)
    }
}

/// The path of images; those in memory go to `given`.
fn path(given: &mut Option<ImageSet>, source: Source) -> PathBuf {
    match source {
        Source::Path(path) => {
            *given = None;
            path
        }
        Source::Memory(images) => {
            *given = Some(*images);
            ImageSet::IN_MEMORY.into()
        }
    }
}
