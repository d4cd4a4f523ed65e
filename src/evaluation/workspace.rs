//! What cells of a study share, each made once below `results/work`: image folders, the Fisher information of a source, bundles, runs that serve
//! two methods, and what a source network can do before it is tuned.

use super::cell::Request;
use super::images::{ImageFolders, Part, made_once};
use super::results::Score;
use super::study::{FisherPlan, Source, Variant, mode_name};
use crate::artifact::make_bundle;
use crate::bundle::manifest::BatchNormMode;
use crate::bundle::{Bundle, HeadOption, Options, start_state};
use crate::data::ImageFolder;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::fisher::{self, FisherOptions};
use crate::import::BatchSize;
use crate::storage::files::write_sealed_json;
use crate::storage::seal;
use crate::storage::sha256;
use crate::storage::temporaries;
use crate::train::{Classifier, ClassifierOptions, EvaluationOptions, evaluate_folder};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Where a study's files are.
pub struct Workspace<'a> {
    /// What the study's paths are relative to.
    pub base: &'a Path,
    /// `results/work`.
    pub work: PathBuf,
    /// The runtime that everything runs on.
    pub engine: EngineOptions,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// Removes what earlier processes could not remove in the end from a study's results and from the folder for temporary files, also where nothing is
/// left to do.
pub(super) fn remove_leftovers(results: &Path) {
    temporaries::sweep(&std::env::temp_dir());
    temporaries::sweep_below(results, WORK_LEVELS);
}

/// From the results' folder to that of an image folder or a run: `work/images/NAME`.
const WORK_LEVELS: usize = 3;

/// A short mark of what something is made of.
pub(super) fn mark(of: &str) -> String {
    sha256::mark(of, 6)
}

impl Workspace<'_> {
    fn images(&self) -> (PathBuf, &Path) {
        (self.work.join("images"), self.base)
    }

    /// The folder of a part of the cell's target.
    pub fn part(&self, request: &Request, part: Part) -> Result<PathBuf> {
        let (place, base) = self.images();
        ImageFolders { base, place: &place }.part(request.target, part)
    }

    /// The images of the source's own task.
    pub fn source_test(&self, source: &Source) -> Result<PathBuf> {
        let (place, base) = self.images();
        ImageFolders { base, place: &place }.all(&source.test)
    }

    /// The source's model.
    pub fn model(&self, source: &Source) -> PathBuf {
        self.base.join(&source.model)
    }

    fn fisher(&self, source: &Source, plan: &FisherPlan) -> Result<PathBuf> {
        let model = self.model(source);
        let text = serde_json::to_string(&(plan, &source.input_shape)).unwrap_or_default();
        let dir = self.work.join(format!("fisher-{}", mark(&format!("{} {text}", model.display()))));
        let (place, base) = self.images();
        let data = ImageFolders { base, place: &place }.all(&plan.images)?;
        made_once(&dir, |dir| {
            std::fs::create_dir_all(dir).map_err(Error::io("cannot create", dir))?;
            let options = FisherOptions {
                samples: Some(plan.samples),
                engine: self.engine.clone(),
                workers: 1,
                input_shape: source.input_shape.clone(),
                ..FisherOptions::new(model, data, dir.join(FISHER))
            };
            fisher::fisher(&options, &mut fisher::Silent, self.stop).map(|_| ())
        })?;
        Ok(dir.join(FISHER))
    }

    /// The bundle that a cell trains, for these training images.
    pub fn bundle(&self, request: &Request, training: &Path, strength: Option<f64>) -> Result<Bundle> {
        let model = self.model(request.source);
        let classes = ImageFolder::open(training, None)?.classes().to_vec();
        let mut options = Options {
            head: HeadOption::Classes(classes.len()),
            classes,
            batch: BatchSize::Fixed(request.batch),
            batch_norm: request.batch_norm,
            dropout: request.dropout,
            input_shape: request.source.input_shape.clone(),
            seed: request.cell.seed,
            ..Options::default()
        };
        match &request.cell.variant {
            Some(Variant::FreezeStages(stages)) => options.freeze_stages = *stages,
            Some(Variant::BatchNorm(mode)) => {
                options.batch_norm = [BatchNormMode::Train, BatchNormMode::Frozen].into_iter().find(|&m| mode_name(m) == mode);
            }
            _ => {}
        }
        request.method.rewriting(&mut options, strength)?;
        if request.method.reads_fisher() {
            let plan = request.fisher.ok_or_else(|| {
                Error::usage(format!(
                    "`{}` needs the Fisher information of `{}`: give the source its `fisher` images",
                    request.method.name, request.cell.source
                ))
            })?;
            options.fisher = Some(self.fisher(request.source, plan)?);
        }
        let text = serde_json::to_string(&options).map_err(|e| Error::internal(format!("options cannot be written: {e}")))?;
        let dir = self.work.join("bundles").join(mark(&format!("{} {text}", model.display())));
        made_once(&dir, |dir| make_bundle(&model, dir, &options, false).map(|_| ()))?;
        Bundle::open(&dir)
    }

    /// What the source network does on its own task, with the preprocessing and the image size of `bundle`.
    pub fn before(&self, request: &Request, bundle: &Bundle, engine: &dyn Engine) -> Result<Score> {
        let text = serde_json::to_string(request.source).unwrap_or_default();
        let file = self.work.join(format!("before-{}.json", mark(&text)));
        // What cannot be read is measured again.
        let read =
            |file: &Path| seal::read_json(file, "cannot read", Error::data).ok().and_then(|opened| serde_json::from_str(&opened.text).ok());
        if file.is_file()
            && let Some(found) = read(&file)
        {
            return Ok(found);
        }
        let state = start_state(bundle)?;
        let options = self.old_head(request);
        let mut classifier = Classifier::of_state(bundle, &state, &options, engine)?;
        let score = self.score(&mut classifier, &self.source_test(request.source)?)?;
        write_sealed_json(&file, true, &score)?;
        Ok(score)
    }

    /// The source's classifier on the network's features.
    pub fn old_head(&self, request: &Request) -> ClassifierOptions {
        let Source { input_shape, .. } = request.source;
        ClassifierOptions { head_from: Some(self.model(request.source)), input_shape: input_shape.clone(), ..ClassifierOptions::default() }
    }

    /// Measures a network on a folder.
    pub fn score(&self, classifier: &mut Classifier, data: &Path) -> Result<Score> {
        let options = EvaluationOptions { workers: 1, ..EvaluationOptions::new(data) };
        let found = evaluate_folder(classifier, &options, self.stop, &mut |_| {}, &mut |_, _| {})?;
        Ok(Score { images: found.images, accuracy: found.accuracy, loss: found.loss })
    }
}

const FISHER: &str = "fisher.safetensors";
