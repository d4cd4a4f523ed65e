//! Everything that can be checked before an engine is started: bundle, options, images, run folder.

use super::changes::Change;
use super::checkpoint::{Checkpoint, Resumed};
use super::continuation;
use super::decide::{Pace, decide};
use super::folders;
use super::image_stamps;
use super::options::{Existing, FinetuneOptions, Training, Validation};
use super::progress::Progress;
use super::run::{BundleReference, Images, RunRecord, Status};
use super::run_images::RunImages;
use super::scalars::Scalars;
use super::targets;
use crate::bundle::{Bundle, ClassNames, StateMeaning, start_state};
use crate::data::{ImageSet, KnownClasses, Last, Recipe};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::ops::dropout;
use crate::shell::word;
use crate::storage::folders::OutputDir;
use crate::storage::inputs::Inputs;
use crate::storage::lock::Lock;
use crate::storage::pending_outputs::final_name;
use crate::storage::presence;
use crate::storage::run_folder::{RECORD, RunFolder};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A run that could start.
pub(super) struct RunPlan {
    /// With the classes in its manifest.
    pub bundle: Bundle,
    pub training: Training,
    pub scalars: Scalars,
    pub images: PlannedImages,
    pub origin: Origin,
    pub target: Target,
    pub notes: Vec<String>,
}

/// The images of a run, and how they become batches.
pub(super) struct PlannedImages {
    pub recipe: Recipe,
    pub pace: Pace,
    pub training: ImageSet,
    pub validation: Option<ImageSet>,
    pub test: Option<ImageSet>,
    pub counts: Images,
}

impl PlannedImages {
    /// Fails where the last step of an epoch would have fewer images than the others.
    pub fn check_even(&self) -> Result<()> {
        let (batch, images) = (self.pace.batch.max(1), self.counts.training);
        match (self.pace.last, images.checked_rem(batch).unwrap_or(0)) {
            (Last::Short, left @ 1..) => Err(Error::option(
                Field::CUDA_GRAPH,
                format!(
                    " needs as many images in every step, and the last one of an epoch would have {left} of {batch}: rewrite the model with {} {batch}, which fills it \
                     up, or leave the last ones out with {}",
                    Field::BATCH,
                    Field::DROP_LAST
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// What a run begins with.
pub(super) struct Origin {
    /// The run that goes on.
    pub before: Option<RunRecord>,
    /// The state to start from, in the manifest's order.
    pub state: Vec<Tensor>,
    pub at: Checkpoint,
}

/// What a run writes into.
pub(super) struct Target {
    pub reference: BundleReference,
    pub place: Place,
    /// On the run that goes on, or on the one that is replaced.
    pub lock: Option<Lock>,
}

/// Where the run is written.
pub(super) enum Place {
    New(OutputDir),
    Resumed(RunFolder),
}

/// `bundle` is that of the options, opened.
pub(super) fn prepare(options: &FinetuneOptions, mut bundle: Bundle, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<RunPlan> {
    let mut training = absolute(&options.training)?;
    let validation = if let Validation::Folder(dir) = &training.validation { Some(dir) } else { None };
    let inputs = Inputs::new([&bundle.dir]).with_data([&training.data].into_iter().chain(validation).chain(&training.test));
    if options.existing != Existing::Resume {
        inputs.check_folder(&options.output)?;
    }
    options.cache.folder.iter().try_for_each(|folder| inputs.check_within(folder))?;
    let scalars = training.scalars(&bundle.manifest)?;
    training.check_head_first(&bundle.manifest)?;
    targets::check(&training, &bundle.manifest)?;
    training.batch(&bundle.manifest)?;
    if options.checkpoint_every == Some(0) {
        return Err(Error::option(Field::CHECKPOINT_EVERY, " 0 makes no sense: give a number of steps"));
    }
    let mut notes = vec![];
    let count = bundle.class_count()?;
    let names = ClassNames { names: bundle.manifest.classes.clone(), ..ClassNames::default() }.choose(
        &training.classes,
        count,
        &final_name(&options.bundle),
    )?;
    let known = KnownClasses {
        names: &names,
        count,
        learnt: !bundle.manifest.has_new_head(),
        targets: Some(targets::kind(&bundle.manifest)),
        ..KnownClasses::default()
    };
    let RunImages { training: images, validation, test, skipped, notes: told } =
        RunImages::open(&training, &options.images, &known, options.workers, stop, &mut |done, total| progress.checking(done, total))?;
    notes.extend(told);
    bundle.manifest.classes = images.classes().to_vec();
    let recipe = Recipe::new(&bundle.manifest.preprocessing, &bundle.manifest.data.input.shape)?;
    training.early_stopping.check(validation.is_some())?;
    let pace = decide(&mut training, &bundle.manifest, images.len(), &mut notes)?;
    images.check_ready(&recipe, !training.augment.is_none())?;
    for held_out in [&validation, &test].into_iter().flatten() {
        held_out.check_ready(&recipe, false)?;
    }
    let reference = BundleReference::to(&bundle)?;
    let sha256 = folders::fingerprint(&images);
    let held_out = |set: &Option<ImageSet>| set.as_ref().map_or(0, ImageSet::len);
    let (validated, tested) = (held_out(&validation), held_out(&test));
    let mut counts = Images {
        training: images.len(),
        validation: validated,
        test: tested,
        skipped,
        sha256,
        stamps: None,
        contents: None,
        test_contents: None,
    };
    let sets: Vec<&ImageSet> = std::iter::once(&images).chain(&validation).collect();
    let fresh = Checkpoint::new(0, 1, training.seed);
    let folder = RunFolder::new(&options.output);
    let (place, lock, before, at, state) = match options.existing {
        Existing::Resume => {
            let lock = folder.is_run().then(|| folder.lock()).transpose()?;
            let before = check_same(options, &reference, &training, &counts)?;
            let places = (options.output.as_path(), training.data.as_path());
            let places_before = if before.is_imported() { training.clone() } else { at_places_of(&training, &before.training) };
            let test_moved = places_before.test != training.test;
            let moved = Training { test: training.test.clone(), ..places_before } != training;
            if moved && before.images.contents.is_none() {
                return Err(Error::data(format!(
                    "the run {} cannot be resumed with images at another place: it did not note their contents when it began, so they cannot be compared. Give them \
                     their place again",
                    options.output.display()
                )));
            }
            // Images at another place are those of the run if their contents are; their times may be others.
            image_stamps::check(&mut counts, &before.images, &sets, options.verify_data || moved, places)?;
            let all = options.verify_data || moved;
            let compare = test_moved || (all && before.images.test_contents.is_some());
            image_stamps::check_test(&mut counts, &before.images, test.as_ref(), compare, &options.output)?;
            if moved || test_moved {
                notes.push("images of the run were at another place before, and are the same".into());
            }
            let (at, state) = match continuation::standing(&folder, &before, &bundle.manifest)? {
                Some(Resumed { at, state, note }) => {
                    notes.extend(note);
                    let seed = if before.is_imported() { training.seed } else { at.seed };
                    (Checkpoint { seed, ..at }, state)
                }
                None if before.status == Status::Complete => {
                    let why = match before.is_imported() {
                        true => {
                            "the checkpoint that it was made of had not the state of its optimizer, or not how many steps it was trained. Import one with both"
                        }
                        false => "it did not keep the state of its optimizer. Start another",
                    };
                    return Err(Error::usage(format!("the run {} cannot be continued: {why}", options.output.display())));
                }
                None => {
                    notes.push("the run had written no checkpoint, so it starts from the beginning".into());
                    (fresh, fresh_state(&bundle, training.seed)?)
                }
            };
            (Place::Resumed(folder), lock, Some(before), at, state)
        }
        existing => {
            let (out, lock) = create(&folder, existing == Existing::Replace, &mut notes)?;
            image_stamps::note(&mut counts, &sets, options.verify_data)?;
            image_stamps::note_test(&mut counts, test.as_ref(), options.verify_data)?;
            (Place::New(out), lock, None, fresh, fresh_state(&bundle, training.seed)?)
        }
    };
    // Where a run keeps no bundle itself, it still names its own.
    let reference = before.as_ref().map_or(reference, |before| before.bundle.clone());
    let images = PlannedImages { recipe, pace, training: images, validation, test, counts };
    let (origin, target) = (Origin { before, state, at }, Target { reference, place, lock });
    Ok(RunPlan { bundle, training, scalars, images, origin, target, notes })
}

/// The state that a run with that seed begins with: the bundle's, with masks of the run's own.
fn fresh_state(bundle: &Bundle, seed: u64) -> Result<Vec<Tensor>> {
    let mut state = start_state(bundle)?;
    for (_, value) in bundle.manifest.state.iter().zip(&mut state).filter(|(s, _)| s.meaning == Some(StateMeaning::Random)) {
        *value = dropout::start(seed);
    }
    Ok(state)
}

/// With full paths, so that a run can be resumed from another folder.
fn absolute(training: &Training) -> Result<Training> {
    let full = |p: &Path| match ImageSet::is_in_memory(p) {
        true => Ok(p.to_path_buf()),
        false => std::path::absolute(p).map_err(Error::io("cannot find", p)),
    };
    let validation = match &training.validation {
        Validation::Folder(dir) => Validation::Folder(full(dir)?),
        other => other.clone(),
    };
    let test = training.test.as_deref().map(full).transpose()?;
    Ok(Training { data: full(&training.data)?, validation, test, ..training.clone() })
}

/// A run that left nothing worth keeping is replaced without being asked for.
fn create(folder: &RunFolder, replace: bool, notes: &mut Vec<String>) -> Result<(OutputDir, Option<Lock>)> {
    let take = || folder.is_run().then(|| folder.lock()).transpose();
    let mut lock = take()?;
    if let Some(note) = folder.settle()? {
        notes.push(note);
        lock = take()?;
    }
    let (is_run, kept) = (folder.is_run(), folder.has_weights());
    if is_run && kept && !replace {
        let (shown, resume, replace) = (folder.path().display(), Field::RESUME, Field::REPLACE);
        return Err(Error::usage(format!("{shown} holds a run already: {resume} continues it, {replace} replaces it")));
    }
    let beside = folder.replaced();
    if is_run && kept && presence::at(beside.path())?.is_some() {
        return Err(Error::usage(format!(
            "{} would stay in {} until the new run has weights, and there is something of that name. Give that another one, or remove it yourself",
            folder.path().display(),
            beside.path().display()
        )));
    }
    Ok((OutputDir::create_marked(folder.path(), replace || (is_run && !kept), RECORD)?, lock))
}

/// The same options with images where `before` has them, as far as [`image_stamps`] compares what they are: of what is held out only folders.
fn at_places_of(training: &Training, before: &Training) -> Training {
    let validation = match (&training.validation, &before.validation) {
        (Validation::Folder(now), Validation::Folder(folder)) if now.is_dir() => Validation::Folder(folder.clone()),
        (now, _) => now.clone(),
    };
    let test = training.test.as_ref().map(|now| before.test.as_ref().unwrap_or(now).clone());
    Training { data: before.data.clone(), validation, test, ..training.clone() }
}

/// What of the options a run that goes on would have otherwise than it had before, but its length and the places of its images.
pub(super) fn differences(before: &Training, now: &Training) -> Result<Vec<Change>> {
    before.changes(&at_places_of(&absolute(now)?, before))
}

/// Fails where a run that goes on would have other options than before, naming all of them.
pub(super) fn refuse_changes(run: &Path, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the run {} cannot be resumed with other options ({}). Leave them away to go on as before, or start another run with them, without {}",
        run.display(),
        changes.iter().map(|change| change.to_string()).collect::<Vec<_>>().join("; "),
        Field::RESUME
    )))
}

/// Fails where the run in the folder was another one than this would be, but for its length; the run as it was.
fn check_same(options: &FinetuneOptions, bundle: &BundleReference, training: &Training, images: &Images) -> Result<RunRecord> {
    let before = RunRecord::read(&options.output)?;
    let shown = options.output.display();
    if before.status == Status::Complete && options.more.is_none() && before.training.length == training.length {
        return Err(Error::usage(format!(
            "the run {shown} is complete. Continue it with {} +5, export it with `spgraph export {} -o tuned.onnx`, or start another",
            Field::EPOCHS,
            word(&options.output)
        )));
    }
    if before.bundle.sha256 != bundle.sha256 {
        return Err(Error::usage(format!(
            "the run {shown} cannot be resumed: its bundle is another one, or was rewritten since. The run has its own, so name none"
        )));
    }
    if before.is_imported() {
        // Its images and what was done with them are told now.
        return Ok(before);
    }
    refuse_changes(&options.output, &before.training.changes(&at_places_of(training, &before.training))?)?;
    let listed = |images: &Images| Images { stamps: None, contents: None, test_contents: None, ..images.clone() };
    if before.images.test != images.test {
        return Err(Error::data(format!(
            "the run {shown} cannot be resumed: it began with {} test images, and there are {} now. Give those, or start anew with {}",
            before.images.test,
            images.test,
            Field::REPLACE
        )));
    }
    if listed(&before.images) != listed(images) {
        return Err(Error::data(format!(
            "the run {shown} cannot be resumed: {} has changed since ({} images before, {} now). Restore it, or start anew with {}",
            training.data.display(),
            before.images.training,
            images.training,
            Field::REPLACE
        )));
    }
    Ok(before)
}
