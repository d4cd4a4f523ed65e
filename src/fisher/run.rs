//! From a model and an image folder to a Fisher file.

use super::checkpoint::Identity;
use super::estimate::{EstimatePlan, Estimator, Keeping, Progress};
use super::layout;
use super::mode::Mode;
use super::options::FisherOptions;
use super::subject::{FisherSubject, check_scores, look, network};
use super::summary::Summary;
use crate::bundle::manifest::Preprocessing;
use crate::bundle::{Prepared, class_names, read_metadata};
use crate::data::{Augment, Dataset, ImageDataset, ImageFolder, KnownClasses, Recipe, TargetKind};
use crate::engine;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::Tensor;
use crate::onnx::{self, SourceModel};
use crate::operator::fixed;
use crate::storage::beside::beside;
use crate::storage::files::OutputFile;
use crate::storage::fisher_file::{self, Info, SourceInfo};
use crate::storage::inputs::{Inputs, check_among};
use crate::storage::lock::Lock;
use crate::train::{Existing, folder_fingerprint};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What [`fisher`] did.
#[derive(Debug, Clone, Serialize)]
pub struct FisherResult {
    /// The file that was written.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// Its header.
    pub info: Info,
    /// The runtime, for people.
    pub engine: String,
    /// Images in the folder.
    pub images: usize,
    /// (image, class) pairs in this process.
    pub pairs: u64,
    /// (image, class) pairs in one call of the graph.
    pub pairs_per_call: usize,
    /// For this process's pairs, waiting for images included.
    pub seconds: f64,
    /// Of this process.
    pub pairs_per_second: f64,
    /// Share of the time spent waiting for images.
    pub wait: f64,
    /// What the estimate says about the layers.
    #[serde(flatten)]
    pub summary: Summary,
}

/// Estimates the Fisher information of `options.model` on `options.data` and writes it to `options.output`.
///
/// The result depends on the model, the images, mode, samples, seed, the engine, and in the last bits on the pairs per call; an
/// interrupted estimation that is resumed ends with the same bits. When `stop` becomes true the call is finished, a checkpoint
/// is written beside the output, and the error is [`Error::Interrupted`].
pub fn fisher(options: &FisherOptions, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<FisherResult> {
    let kept = options.checkpoint();
    // What is resumed was allowed to replace the file when it began.
    let replace = options.existing == Existing::Replace || (options.existing == Existing::Resume && kept.is_file());
    let inputs = Inputs::new(onnx::files_of(&options.model)).with_data([&options.data]);
    [Some(&options.output), Some(&kept), options.graph.as_ref()].into_iter().flatten().try_for_each(|path| inputs.check_file(path))?;
    // Hours of work should not end with a name that cannot be written.
    drop(OutputFile::create(&options.output, replace)?);
    // One process at a time estimates into a file.
    let _lock = Lock::take(&beside(&kept, "", ".lock"), |who| {
        let shown = options.output.display();
        Error::usage(format!("{shown} is being estimated by {who}. Wait until that has ended, end it, or give another file"))
    })?;
    if kept.is_file() && options.existing == Existing::Refuse {
        let (shown, resume, replace) = (kept.display(), Field::RESUME, Field::REPLACE);
        return Err(Error::usage(format!("{shown} holds an unfinished estimation: {resume} continues it, {replace} starts anew")));
    }
    let source = onnx::read(&options.model)?;
    let network = network(source, options.input_shape.clone())?;
    let source = network.source();
    let subject = look(&network)?;
    let mode = options.mode.unwrap_or_else(|| {
        let mode = Mode::usual(subject.classes);
        if mode == Mode::Sampled {
            progress.note(&format!(
                "{classes} classes: one class is drawn for each image ({field} sampled); {field} exact takes all of them, at {classes} times the cost",
                classes = subject.classes,
                field = Field::MODE
            ));
        }
        mode
    });
    let preprocessing = preparation(options, source, &subject, progress)?;
    check_scores(&network, &preprocessing)?;
    let folder = match mode {
        Mode::Empirical => {
            let known = class_names(&source.proto, &subject.output)?;
            let names = known.choose(&options.classes, Some(subject.classes), &options.model)?;
            ImageFolder::open_for(
                &options.data,
                &KnownClasses {
                    names: &names,
                    count: Some(subject.classes),
                    learnt: true,
                    targets: Some(TargetKind::Class),
                    ..KnownClasses::default()
                },
            )?
        }
        _ => ImageFolder::open(&options.data, None)?,
    };
    for output in [Some(&options.output), Some(&kept), options.graph.as_ref()].into_iter().flatten() {
        check_among(output, (0..folder.len()).filter_map(|index| folder.path(index)))?;
    }
    folder.notes().iter().for_each(|note| progress.note(note));
    let samples = samples(options, mode, folder.len())?;
    let shape = layout::choose(&subject, mode, options.pairs, samples)?;
    let dims = fixed(&subject.input).map_err(Error::internal)?;
    let recipe = Recipe::new(&preprocessing, &dims.iter().map(|&d| d as i64).collect::<Vec<_>>())?;
    let identity = Identity {
        model: source.sha256.clone(),
        images: folder_fingerprint(&folder),
        mode,
        samples,
        seed: options.seed,
        rows: shape.rows,
        copies: shape.copies,
        input: dims.get(1..).unwrap_or_default().to_vec(),
        preprocessing,
    };
    let keeping = Keeping { path: kept, identity, every: options.checkpoint_every };
    let engine = engine::open(&options.engine)?;
    let images = folder.len();
    let dataset: Arc<dyn Dataset> = Arc::new(ImageDataset::new(folder, recipe, Augment::NONE, 0));
    let plan = EstimatePlan { mode, classes: subject.classes, samples, seed: options.seed, shape, workers: options.workers };
    let mut estimator = Estimator::new(&network, plan, dataset, engine.as_ref())?;
    if let [first, ..] = &estimator.graph().left_out[..] {
        let count = estimator.graph().left_out.len();
        progress.note(&format!(
            "{count} parameters that are no weights are left out ({first}{}): where they are used there is no rule for the gradients of single images",
            if count > 1 { ", …" } else { "" }
        ));
    }
    if let Some(path) = &options.graph {
        onnx::write_to(OutputFile::create(path, replace)?, &estimator.graph().model()?)?;
    }
    if options.existing == Existing::Replace && keeping.path.is_file() {
        std::fs::remove_file(&keeping.path).map_err(Error::io("cannot remove", &keeping.path))?;
    }
    if options.existing == Existing::Resume {
        match keeping.path.is_file() {
            true => estimator.restore(&keeping)?,
            false => progress.note(&format!("{} does not exist, so the estimation starts from the beginning", keeping.path.display())),
        }
    }
    let estimate = estimator.run_kept(progress, stop, Some(&keeping));
    progress.finish();
    let estimate = estimate?;
    let info = Info {
        format: fisher_file::FORMAT,
        spgraph: env!("CARGO_PKG_VERSION").into(),
        source: SourceInfo {
            file: options.model.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            sha256: source.sha256.clone(),
        },
        mode: mode.name().into(),
        samples: estimate.samples,
        classes: subject.classes,
        seed: options.seed,
    };
    let tensors: Vec<(String, Tensor)> =
        estimate.parameters.iter().zip(&estimate.values).map(|(p, values)| (p.name.clone(), values.mapv(|v| v as f32).into())).collect();
    fisher_file::write(&options.output, replace, &info, &tensors)?;
    if keeping.path.is_file() {
        std::fs::remove_file(&keeping.path).map_err(Error::io("cannot remove", &keeping.path))?;
    }
    Ok(FisherResult {
        path: options.output.clone(),
        info,
        engine: engine.describe(),
        images,
        pairs: estimate.pairs,
        pairs_per_call: shape.rows.saturating_mul(shape.copies),
        seconds: estimate.seconds,
        pairs_per_second: estimate.pairs as f64 / estimate.seconds.max(1e-9),
        wait: estimate.wait / estimate.seconds.max(1e-9),
        summary: Summary::of(&estimate),
    })
}

/// m for so many images.
fn samples(options: &FisherOptions, mode: Mode, images: usize) -> Result<u64> {
    match options.samples {
        Some(0) => Err(Error::option(Field::SAMPLES, " 0 makes no sense: give the number of images to use, 1 or more")),
        Some(m) if m > images as u64 && mode != Mode::Sampled => {
            let (data, field) = (options.data.display(), Field::MODE);
            let why = format!("{data} has {images} images, and {field} {mode} gains nothing from using one twice. Give {images} or less");
            Err(Error::option(Field::SAMPLES, format!(" {m}: {why}, or leave it away")))
        }
        Some(m) => Ok(m),
        None => Ok(images as u64),
    }
}

/// How images are prepared: as the caller says, else as the model says, else ImageNet's.
fn preparation(
    options: &FisherOptions,
    source: &SourceModel,
    subject: &FisherSubject,
    progress: &mut dyn Progress,
) -> Result<Preprocessing> {
    let known = read_metadata(&source.proto)?;
    let shape: Vec<i64> = subject.input.shape.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect();
    let Prepared { preprocessing: p, assumed, own } =
        known.images.choose(&options.images)?.complete(subject.input.dtype, &shape, subject.own.as_ref())?;
    if let Some(said) = p.note(&assumed, own) {
        progress.note(&said);
    }
    Ok(p)
}
