//! Runs a cell: training, measurements, its record. A cell whose record is there is not run again; one that is run twice, or by two processes
//! at once, has the same record.

use super::cell::{Phase, Request, Settings};
use super::images::Part;
use super::results::{self, CellResult, Drift, FORMAT, LayerDrift, LayerSimilarity, Score, SourceLeft, Times};
use super::selection::choose;
use super::similarity;
use super::study::Variant;
use super::workspace::{Workspace, mark, remove_leftovers};
use crate::bundle::{Bundle, Setting, start_state, tuned};
use crate::data::ImageFolder;
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::storage::temporaries::Scratch;
use crate::train::{
    Classifier, ClassifierOptions, Distance, FinetuneOptions, Length, RunRecord, RunState, Silent, Subject, Training, finetune,
    interpolated,
};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What came of asking for a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// Its record was there.
    Before,
    /// It was run now.
    Now(Box<CellResult>),
}

/// Runs a cell whose record is not in `results` yet.
///
/// Fails, naming what is missing, for a final cell whose selection is not complete.
pub fn run_cell(request: &Request, workspace: &Workspace, results: &Path) -> Result<Done> {
    remove_leftovers(results);
    let path = results::path(results, request);
    if results::is_there(&path) {
        return Ok(Done::Before);
    }
    let settings = settings_of(request, results)?;
    std::fs::create_dir_all(&workspace.work).map_err(Error::io("cannot create", &workspace.work))?;
    let result = measure(request, settings, workspace)?;
    results::write(&path, &result)?;
    Ok(Done::Now(Box::new(result)))
}

/// Those of the cell, or what its selection chose.
fn settings_of(request: &Request, results: &Path) -> Result<Settings> {
    if let Some(own) = request.cell.settings {
        return Ok(own);
    }
    let cells = request.chosen_by();
    let (there, missing): (Vec<_>, Vec<_>) =
        cells.iter().map(|r| (r, results::path(results, r))).partition(|(_, path)| results::is_there(path));
    if let Some((first, _)) = missing.first() {
        return Err(Error::usage(format!(
            "the settings of {} are chosen by {} cells, and {} of them have not been run, such as {}",
            request.cell.name(),
            cells.len(),
            missing.len(),
            first.cell.name()
        )));
    }
    let found: Vec<CellResult> = there.iter().map(|(_, path)| results::read(path)).collect::<Result<_>>()?;
    choose(&found).ok_or_else(|| Error::usage(format!("no run of the selection of {} came to its end", request.cell.name())))
}

fn measure(request: &Request, settings: Settings, workspace: &Workspace) -> Result<CellResult> {
    let begun = Instant::now();
    let cell = &request.cell;
    let training = workspace.part(request, Part::Training { images: cell.images, seed: cell.seed })?;
    let part = if cell.phase == Phase::Final { Part::Test } else { Part::Validation };
    let data = workspace.part(request, part)?;
    let bundle = workspace.bundle(request, &training, settings.strength)?;
    let engine = engine::open(&workspace.engine)?;
    let mut result = CellResult {
        format: FORMAT,
        spgraph: env!("CARGO_PKG_VERSION").into(),
        cell: cell.clone(),
        settings,
        steps: request.steps,
        target: Score { images: 0, accuracy: 0.0, loss: f64::MAX },
        source: None,
        drift: Drift::default(),
        similarity: vec![],
        seconds: Times::default(),
        engine: engine.describe(),
        processor: processor(),
        failed: None,
    };
    match Tuned::train(request, settings, workspace, &bundle, &training) {
        Ok(tuned) => tuned.fill(&mut result, request, workspace, engine.as_ref(), &data)?,
        // A rate or strength that is too large is a result, not a mishap.
        Err(Error::Training(why)) => result.failed = Some(why),
        Err(other) => return Err(other),
    }
    result.seconds.total = begun.elapsed().as_secs_f64();
    Ok(result)
}

/// A trained network.
struct Tuned {
    bundle: Bundle,
    state: Vec<Tensor>,
    start: Vec<Tensor>,
    seconds: f64,
}

impl Tuned {
    fn train(request: &Request, settings: Settings, workspace: &Workspace, bundle: &Bundle, data: &Path) -> Result<Tuned> {
        let mut training = Training::new(data);
        training.length = Length::Steps(request.steps);
        training.schedule = request.schedule.parse()?;
        training.warmup = Some(request.warmup);
        let augment = match &request.cell.variant {
            Some(Variant::Augment(text)) => text,
            _ => request.augment,
        };
        training.augment = augment.parse()?;
        training.seed = request.cell.seed;
        training.scalars.insert(Setting::LearningRate, settings.rate);
        request.method.training(&mut training, settings.strength, settings.beta);
        let place = place(request, workspace, bundle, &training)?;
        if !place.kept_run() {
            let mut options = FinetuneOptions::new(&bundle.dir, data, place.path());
            options.engine = workspace.engine.clone();
            options.workers = 1;
            options.checkpoint_every = Some(request.steps.saturating_add(1));
            options.training = training;
            finetune(&options, &mut Silent, workspace.stop)?;
        }
        let subject = Subject::open(&place.path())?;
        let state = match request.method.interpolation(settings.strength) {
            Some(to) => interpolated(&subject, RunState::Final, to)?,
            None => subject.state(RunState::Final)?,
        };
        let seconds = RunRecord::read(&place.path())?.results.map_or(0.0, |r| r.seconds);
        let start = start_state(bundle)?;
        place.keep();
        Ok(Tuned { bundle: bundle.clone(), state, start, seconds })
    }

    fn fill(&self, result: &mut CellResult, request: &Request, workspace: &Workspace, engine: &dyn Engine, data: &Path) -> Result<()> {
        let mut classifier = Classifier::of_state(&self.bundle, &self.state, &ClassifierOptions::default(), engine)?;
        result.target = workspace.score(&mut classifier, data)?;
        result.seconds.training = self.seconds;
        let distance = Distance::between(&self.bundle.manifest.state, &self.state, &self.start)?;
        let unmoved = distance.unmoved.elements as f64 / distance.unmoved.of_elements.max(1) as f64;
        result.drift = Drift { total: distance.total, relative: distance.relative, unmoved, layers: vec![] };
        if request.cell.phase == Phase::Selection {
            return Ok(());
        }
        let penalised = |name: &str| self.bundle.manifest.state.iter().any(|s| s.alias == name && s.shape.len() > 1);
        let weights = distance.layers.iter().filter(|l| penalised(&l.name));
        result.drift.layers = weights.map(|l| LayerDrift { layer: l.name.clone(), relative: l.relative }).collect();
        let before = workspace.before(request, &self.bundle, engine)?;
        let mut old = Classifier::of_state(&self.bundle, &self.state, &workspace.old_head(request), engine)?;
        let after = workspace.score(&mut old, &workspace.source_test(request.source)?)?;
        result.source = Some(SourceLeft { before, after });
        result.similarity = self.similarity(engine, data, &classifier)?;
        Ok(())
    }

    /// On images of the target, an equal number of each class.
    fn similarity(&self, engine: &dyn Engine, data: &Path, classifier: &Classifier) -> Result<Vec<LayerSimilarity>> {
        let folder = ImageFolder::open(data, None)?;
        let most = SIMILARITY_IMAGES.div_ceil(folder.classes().len().max(1));
        let mut taken = vec![0; folder.classes().len()];
        let within = |(at, sample): (usize, crate::data::Sample)| {
            let count: &mut usize = taken.get_mut(sample.label)?;
            *count = count.saturating_add(1);
            (*count <= most).then_some(at)
        };
        let wanted: Vec<usize> = folder.samples().enumerate().filter_map(within).collect();
        let (start, tuned) = (tuned(&self.bundle, &self.start)?, tuned(&self.bundle, &self.state)?);
        similarity::by_layer(engine, start, tuned, folder.subset(&wanted)?, classifier.recipe()?)
    }
}

/// Images on which activations are compared.
const SIMILARITY_IMAGES: usize = 100;

/// Where a run is made.
enum Place {
    /// Removed at the end.
    Passing(Scratch),
    /// Kept for other cells with the same training, once it is whole.
    Kept { dir: PathBuf, temporary: Scratch },
    /// Another cell made it.
    There(PathBuf),
}

impl Place {
    fn kept_run(&self) -> bool {
        matches!(self, Place::There(_))
    }

    fn path(&self) -> PathBuf {
        match self {
            Place::Passing(dir) | Place::Kept { temporary: dir, .. } => dir.path().join("run"),
            Place::There(dir) => dir.clone(),
        }
    }

    fn keep(self) {
        if let Place::Kept { dir, temporary } = &self {
            // Where another process was faster, or it cannot be moved, the cell has what it needs all the same.
            let _ = std::fs::rename(temporary.path().join("run"), dir);
        }
    }
}

/// Where runs are made and kept.
fn runs(workspace: &Workspace) -> PathBuf {
    workspace.work.join("runs")
}

fn place(request: &Request, workspace: &Workspace, bundle: &Bundle, training: &Training) -> Result<Place> {
    let runs = runs(workspace);
    std::fs::create_dir_all(&runs).map_err(Error::io("cannot create", &runs))?;
    let temporary = || Scratch::within(&runs);
    if !request.method.trains_as_none() {
        return Ok(Place::Passing(temporary()?));
    }
    let text = serde_json::to_string(training).map_err(|e| Error::internal(format!("a training cannot be written: {e}")))?;
    let dir = runs.join(mark(&format!("{} {text}", bundle.dir.display())));
    Ok(if dir.is_dir() { Place::There(dir) } else { Place::Kept { dir, temporary: temporary()? } })
}

/// The processor's name.
fn processor() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = known.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
    line.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}
