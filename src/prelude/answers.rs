//! What a network says, and what that is worth.

use super::source::Source;
use crate::data::{Augment, BadImages, ImageDataset, ImageSet, TenCrops, find_images};
use crate::engine::{self, EngineOptions};
use crate::error::{Error, Result};
use crate::train::{
    Classifier, ClassifierOptions, Evaluation, EvaluationOptions, Prediction, Predictions, RunState, Subject, TopK, evaluate,
    evaluate_folder, predict_files, predict_images,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What is asked of a network, whatever for.
#[derive(Debug, Clone)]
struct Asked {
    subject: PathBuf,
    classifier: ClassifierOptions,
    engine: EngineOptions,
}

impl Asked {
    fn of(subject: &Path) -> Asked {
        Asked { subject: subject.into(), classifier: ClassifierOptions::default(), engine: EngineOptions::default() }
    }

    fn open(&self) -> Result<Classifier> {
        Classifier::open(&Subject::open(&self.subject)?, &self.classifier, engine::open(&self.engine)?.as_ref())
    }
}

/// What the answers of a run, a bundle or an ONNX model are worth on images.
///
/// ```no_run
/// # fn main() -> spgraph::Result<()> {
/// use spgraph::prelude::*;
/// let found = Evaluate::of("runs/birds").ten_crop().on("photos/test")?;
/// println!("{}, F1 {:.3}", found.headline(), found.averages.plain.f1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is evaluated before `on`"]
pub struct Evaluate {
    asked: Asked,
    options: EvaluationOptions,
}

impl Evaluate {
    /// Of a run, a bundle (its starting point) or a model.
    pub fn of(subject: impl AsRef<Path>) -> Evaluate {
        Evaluate { asked: Asked::of(subject.as_ref()), options: EvaluationOptions::new("") }
    }

    /// Which state of a run.
    pub fn state(mut self, state: RunState) -> Evaluate {
        self.asked.classifier.which = state;
        self
    }

    /// Under another model's classifier: what the network still knows of that one's task.
    pub fn head_from(mut self, model: impl Into<PathBuf>) -> Evaluate {
        self.asked.classifier.head_from = Some(model.into());
        self
    }

    /// Class names by label.
    pub fn class_names<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Evaluate {
        self.asked.classifier.classes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Averages over ten views of each image.
    pub fn ten_crop(mut self) -> Evaluate {
        self.options.ten_crop = true;
        self
    }

    /// Also tells how often the right class is among so many.
    pub fn top(mut self, count: usize) -> Evaluate {
        self.options.top = Some(count);
        self
    }

    /// Images per call, where the network leaves it open.
    pub fn batch(mut self, images: usize) -> Evaluate {
        (self.options.batch, self.asked.classifier.batch) = (Some(images), Some(images));
        self
    }

    /// Threads that load images.
    pub fn workers(mut self, threads: usize) -> Evaluate {
        self.options.workers = threads;
        self
    }

    /// What becomes of images that cannot be read.
    pub fn bad_images(mut self, what: BadImages) -> Evaluate {
        self.options.bad_images = what;
        self
    }

    /// The runtime.
    pub fn engine(mut self, engine: EngineOptions) -> Evaluate {
        self.asked.engine = engine;
        self
    }

    /// How the network is opened, in all detail.
    pub fn with(mut self, change: impl FnOnce(&mut ClassifierOptions)) -> Evaluate {
        change(&mut self.asked.classifier);
        self
    }

    /// On these images.
    pub fn on(&self, images: impl Into<Source>) -> Result<Evaluation> {
        let (stop, mut classifier) = (AtomicBool::new(false), self.asked.open()?);
        match images.into() {
            Source::Path(data) => {
                let options = EvaluationOptions { data, ..self.options.clone() };
                evaluate_folder(&mut classifier, &options, &stop, &mut |_| {}, &mut |_, _| {})
            }
            Source::Memory(images) => {
                let images = images.for_network(&classifier.known_classes())?;
                let recipe = classifier.recipe()?;
                images.check_ready(&recipe, false)?;
                let dataset: Arc<dyn crate::data::Dataset> = match self.options.ten_crop {
                    true => Arc::new(TenCrops::new(images, recipe)),
                    false => Arc::new(ImageDataset::new(images, recipe, Augment::NONE, 0)),
                };
                let mut found = evaluate(&mut classifier, dataset, self.options.batch, self.options.workers, &stop, &mut |_, _| {})?;
                found.top = self.options.top.map(|k| TopK { k, accuracy: found.top(k) }).into_iter().collect();
                Ok(found)
            }
        }
    }
}

/// What a run, a bundle or an ONNX model says about images.
///
/// ```no_run
/// # fn main() -> spgraph::Result<()> {
/// use spgraph::prelude::*;
/// for answer in Predict::of("runs/birds").top(3).files(["garden.jpg"])?.predictions {
///     println!("{}: {}", answer.image.display(), answer.guesses[0].class);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is predicted before `files` or `images`"]
pub struct Predict {
    asked: Asked,
    top: usize,
}

impl Predict {
    /// Of a run, a bundle (its starting point) or a model.
    pub fn of(subject: impl AsRef<Path>) -> Predict {
        Predict { asked: Asked::of(subject.as_ref()), top: 5 }
    }

    /// Which state of a run.
    pub fn state(mut self, state: RunState) -> Predict {
        self.asked.classifier.which = state;
        self
    }

    /// The likeliest so many classes.
    pub fn top(mut self, count: usize) -> Predict {
        self.top = count;
        self
    }

    /// Also gives what enters the classifier.
    pub fn features(mut self) -> Predict {
        self.asked.classifier.features = true;
        self
    }

    /// The runtime.
    pub fn engine(mut self, engine: EngineOptions) -> Predict {
        self.asked.engine = engine;
        self
    }

    /// How the network is opened, in all detail.
    pub fn with(mut self, change: impl FnOnce(&mut ClassifierOptions)) -> Predict {
        change(&mut self.asked.classifier);
        self
    }

    /// Of files, folders with everything below them, and patterns. Those that cannot be read are named beside the answers.
    pub fn files<P: Into<PathBuf>>(&self, images: impl IntoIterator<Item = P>) -> Result<Predictions> {
        let given: Vec<PathBuf> = images.into_iter().map(Into::into).collect();
        let images = find_images(&given)?;
        if images.is_empty() {
            return Err(Error::usage("no images were given"));
        }
        predict_files(&mut self.asked.open()?, &images, self.top, &AtomicBool::new(false), &mut |_, _| Ok(()))
    }

    /// Of images in memory.
    pub fn images(&self, images: &ImageSet) -> Result<Vec<Prediction>> {
        predict_images(&mut self.asked.open()?, images, self.top)
    }
}
