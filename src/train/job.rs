//! From a model or a bundle to a tuned model, in one go: rewriting, checks, training, evaluation, export, all in the folder of one run.

use super::changes;
use super::configuration::{Configuration, decided};
use super::evaluation::Evaluation;
use super::export_check::Agreement;
use super::final_test::final_test;
use super::finetune::finetune_opened;
use super::full_disk;
use super::given_images::GivenImages;
use super::length::Length;
use super::numbered::Numbered;
pub use super::numbered::RUNS;
use super::options::{Existing, FinetuneOptions, Training};
use super::outstanding;
use super::progress::Progress;
use super::run::{Run, RunRecord, RunResult};
use super::run_state::RunState;
use super::setup::{differences, refuse_changes};
use super::tuned::{Subject, export_tuned};
use crate::artifact::make_decided_bundle;
use crate::bundle::manifest::Manifest;
use crate::bundle::{Bundle, HeadOption};
use crate::data::{ImageSet, KnownClasses, Part, TargetKind};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::storage::beside::beside;
use crate::storage::folders::OutputDir;
use crate::storage::pending_outputs::PendingOutput;
use crate::storage::run_folder::RunFolder;
use crate::storage::sha256;
use crate::storage::{files, temporaries};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Asked before a training begins, with its bundle, and able to refuse it.
pub type Check<'a> = &'a dyn Fn(&FinetuneOptions, &Bundle) -> Result<()>;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Job {
    /// What to do.
    pub configuration: Configuration,
    /// The run's folder; `None`: a new one in [`RUNS`].
    pub output: Option<PathBuf>,
    /// What becomes of a run that is there.
    pub existing: Existing,
    /// So much longer than the run that is resumed.
    pub more: Option<Length>,
    /// Images in memory, in the place of those that the configuration names.
    pub images: GivenImages,
}

/// A training with its bundle, once that may begin.
fn train(options: &FinetuneOptions, check: Check, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunResult> {
    let bundle = Bundle::open(&options.bundle)?;
    check(options, &bundle)?;
    finetune_opened(options, bundle, progress, stop)
}

/// The tuned model in the run's folder.
#[derive(Debug, Clone)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// The state that it has.
    pub state: RunState,
    /// How it was checked.
    pub agreement: Agreement,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct JobResult {
    /// The run.
    pub run: RunResult,
    /// On the images that nothing was chosen by, where there are any.
    pub test: Option<Evaluation>,
    /// Of a job that began with a model.
    pub exported: Option<Exported>,
}

/// Does it. What is not right is refused before anything is written.
///
/// `check` is asked before every training, of a bundle that is there, whether it may begin.
pub fn run(job: &Job, check: Check, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<JobResult> {
    let mut configuration = job.configuration.clone();
    if job.images.training.is_some() {
        configuration.training.data = ImageSet::IN_MEMORY.into();
    }
    if configuration.training.data.as_os_str().is_empty() {
        return Err(Error::option(Field::DATA, " is missing: give the folder of training images, with one sub-folder per class"));
    }
    if job.existing == Existing::Resume {
        return resume(job, configuration, check, progress, stop);
    }
    let place = Numbered::choose(job.output.as_deref(), || name(&configuration))?;
    let path = place.path().to_path_buf();
    let result = match configuration.checked_model()?.map(Path::to_path_buf) {
        None => {
            let missing = || Error::usage("give what to train: an ONNX model, or a bundle that `spgraph rewrite` wrote");
            let bundle = configuration.checked_bundle()?.ok_or_else(missing)?.to_path_buf();
            let options = options(job, &configuration, bundle, path);
            train(&options, check, progress, stop)?
        }
        Some(model) => {
            let listed = decide_head(&mut configuration, job.images.training.as_ref())?;
            configuration.rewriting.soft_targets |= configuration.training.augment.needs_soft_targets();
            // The run takes its files from there; what is left goes with the folder, which never gets its name.
            let beside = beside(&path, "", &format!(".bundle-{}", std::process::id()));
            // Nobody asked for that name, so no error has it.
            let _named = PendingOutput::new(&beside, &path);
            let scratch = OutputDir::create(&beside, false)?;
            // The bundle that the run's own configuration gives, down to its manifest.
            let asked = configuration.rewriting.clone();
            let record = |manifest: &Manifest| Some(decided(&asked, manifest));
            let made = make_decided_bundle(&model, &scratch.path().join("bundle"), &asked, &record)?;
            progress.rewritten(&made);
            configuration.rewriting = decided(&asked, &made.product.manifest);
            let bundle = made.path.clone();
            drop(made);
            let mut options = FinetuneOptions { model: Some(model), ..options(job, &configuration, bundle, path) };
            options.images.training = options.images.training.or(listed);
            train(&options, check, progress, stop)?
        }
    };
    drop(place);
    finish(result, &configuration, progress, stop)
}

/// Goes on with a run.
fn resume(job: &Job, configuration: Configuration, check: Check, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<JobResult> {
    let dir = job.output.clone().ok_or_else(|| Error::option(Field::OUTPUT, " is missing: give the run to go on with"))?;
    // The process that began it may have been killed while it was making what the run is made of.
    temporaries::sweep(files::parent(&dir));
    let before = Configuration::of_run(&dir)?;
    let run = Run::open(&dir)?;
    if let Some(model) = &configuration.model
        && configuration.model != before.model
        && sha256::of_file(model)? != run.bundle.manifest.source.sha256
    {
        let (shown, model) = (dir.display(), model.display());
        return Err(Error::usage(format!(
            "the run {shown} cannot be resumed with {model}: it was made of another model. It needs none to go on"
        )));
    }
    // Of the training alone it is said where its images are known as well.
    let mut changes = changes::between(&before.rewriting, &configuration.rewriting)?;
    if !changes.is_empty() && !run.record.is_imported() {
        let own = differences(&run.record.training, &configuration.training)?;
        // What both have, such as the seed, is one option.
        let further: Vec<_> = own.into_iter().filter(|own| !changes.iter().any(|change| change.to_string() == own.to_string())).collect();
        changes.extend(further);
    }
    refuse_changes(&dir, &changes)?;
    if job.more.is_none()
        && configuration.training == before.training
        && outstanding::is_there(&run.folder, &run.record, before.model.is_some())
        && let Some(results) = run.record.results.clone()
    {
        let _lock = run.folder.lock()?;
        outstanding::tidy(&run.folder, &run.record)?;
        progress.note("the training is complete; what was to follow it is done now");
        let test = outstanding::test_images(&run, &job.images, before.execution.workers, stop, progress)?;
        return finish(RunResult { path: dir, results, test }, &before, progress, stop);
    }
    let given = configuration.bundle.clone().filter(|bundle| Some(bundle) != before.bundle.as_ref());
    let bundle = given.unwrap_or(run.bundle.dir);
    let options = FinetuneOptions { model: before.model.clone(), ..options(job, &configuration, bundle, dir) };
    let result = train(&options, check, progress, stop)?;
    finish(result, &before, progress, stop)
}

fn options(job: &Job, configuration: &Configuration, bundle: PathBuf, output: PathBuf) -> FinetuneOptions {
    FinetuneOptions {
        bundle,
        output,
        existing: job.existing,
        engine: configuration.engine.clone(),
        workers: configuration.execution.workers,
        checkpoint_every: configuration.execution.checkpoint_every,
        more: job.more,
        keep_optimizer: configuration.execution.keep_optimizer,
        verify_data: configuration.execution.verify_data,
        cache: configuration.execution.cache.clone(),
        model: None,
        name: configuration.name.clone(),
        images: job.images.clone(),
        training: configuration.training.clone(),
    }
}

/// What images have as their target, for the loss that was asked for.
fn listed(training: &Training, loss: Option<&str>, known: &KnownClasses) -> Result<ImageSet> {
    let open = |targets| ImageSet::open_for(&training.data, &KnownClasses { targets, several: loss == Some("bce"), ..*known });
    match loss {
        Some("bce") => open(None),
        // Whole numbers are as likely the names of classes, but not for this loss.
        Some("mse") => open(Some(TargetKind::Numbers(TargetKind::ANY))),
        _ => open(Some(TargetKind::Class)),
    }
}

/// A new head for the classes or numbers of the images, unless somebody said what becomes of it. Gives the images, where they were looked at.
fn decide_head(configuration: &mut Configuration, given: Option<&ImageSet>) -> Result<Option<ImageSet>> {
    let Configuration { rewriting, training, head_given, .. } = configuration;
    let names = if rewriting.classes.is_empty() { training.classes.clone() } else { rewriting.classes.clone() };
    let known = KnownClasses { names: &names, ..KnownClasses::default() };
    if *head_given && rewriting.head == HeadOption::Keep {
        // Its classes are known when it was read.
        let loss = rewriting.loss.as_deref();
        rewriting.soft_targets |= match given {
            Some(images) => images.target_columns().is_some(),
            None => matches!(loss, Some("bce" | "mse")) && listed(training, loss, &known)?.target_columns().is_some(),
        };
        return Ok(None);
    }
    let images = match given {
        Some(images) => images.clone(),
        None => listed(training, rewriting.loss.as_deref(), &known)?,
    };
    let found = images.classes().to_vec();
    let (shown, scores) = (training.data.display(), images.target_columns().unwrap_or(found.len()));
    // Each image has a number for every score then.
    rewriting.soft_targets |= images.target_columns().is_some();
    if scores < 2 && !*head_given && !matches!(images.target_kind(), TargetKind::Numbers(_)) {
        return Err(Error::data(format!(
            "{shown} has images of one class only, {}: there is nothing to tell apart. {}",
            found.join(""),
            images.deeper().unwrap_or("Add a folder of others")
        )));
    }
    match rewriting.head {
        HeadOption::Classes(asked) if *head_given && asked != scores => {
            // More classes than there are images of are somebody's plan, and need their names.
            if asked < scores || names.is_empty() {
                return Err(Error::option(
                    Field::CLASSES,
                    format!(
                        " {asked} does not fit {shown}, which has images of {scores} classes. Leave it away to have a head for these, or name all classes with {}",
                        Field::CLASS_NAMES
                    ),
                ));
            }
        }
        _ => rewriting.head = HeadOption::Classes(scores),
    }
    if rewriting.classes.is_empty() {
        rewriting.classes = found;
    }
    // Where the head has other classes than there are images of, these are numbered anew.
    Ok(Some(images).filter(|images| rewriting.classes == images.classes()))
}

/// What a run is called that nobody gave a name: `resnet18-photos`, or as its bundle.
fn name(configuration: &Configuration) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    if let Some(name) = &configuration.name {
        return name.clone();
    }
    let subject = configuration.model.as_deref().or(configuration.bundle.as_deref()).and_then(stem).unwrap_or_else(|| "run".into());
    if configuration.model.is_none() {
        return subject;
    }
    let data = std::path::absolute(&configuration.training.data).unwrap_or_else(|_| configuration.training.data.clone());
    let folder = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // Of a list or arrays without what says how they are written.
    let of_file = data.is_file().then(|| stem(&data)).flatten();
    let own = of_file.or_else(|| folder(&data)).filter(|name| Part::called(name).is_none()).or_else(|| data.parent().and_then(folder));
    own.map_or(subject.clone(), |data| format!("{subject}-{data}"))
}

/// Evaluates and exports what a run came to.
fn finish(run: RunResult, configuration: &Configuration, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<JobResult> {
    let dir = run.path.clone();
    finish_trained(run, configuration, progress, stop).map_err(|error| full_disk::advised(error, &dir))
}

fn finish_trained(run: RunResult, configuration: &Configuration, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<JobResult> {
    let folder = RunFolder::new(&run.path);
    let state = if folder.best().is_file() { RunState::Best } else { RunState::Final };
    let record = RunRecord::read(&run.path)?;
    let subject = Subject::open(&run.path)?;
    let mut run = run;
    let test = match run.test.take() {
        Some(images) => Some(final_test(&subject, state, (&record, images), configuration.execution.workers, stop, progress)?),
        None => None,
    };
    let exported = match configuration.model {
        None => None,
        Some(_) => {
            let path = folder.tuned();
            let agreement = export_tuned(&subject, state, &path, true)?;
            Some(Exported { path, state, agreement })
        }
    };
    Ok(JobResult { run, test, exported })
}
