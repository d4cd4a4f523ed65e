//! A few training steps for the sake of their times.

use super::options::{image_shape, images_per_step};
use super::scalars::Scalars;
use super::step::TrainingStep;
use crate::bundle::manifest::Manifest;
use crate::bundle::{Bundle, Setting};
use crate::data::{Augment, ImageDataset, ImageFolder, KnownClasses, Loader, LoaderOptions, Recipe, TargetKind};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::sync::Arc;

/// The batch of a bundle that takes any, unless told otherwise.
const BATCH: usize = 16;

/// Runs `steps` steps of the bundle on one batch, with a learning rate of 0, and returns the engine's record of them, which
/// `report::Profile` reads.
///
/// The batch comes from the image folder `data`, or is made of random numbers: values in [−1, 1) and labels of all classes. `batch`
/// is its size where the bundle takes any. Fails in an engine that keeps no record of its nodes' times.
pub fn profile(bundle: &Bundle, engine: &dyn Engine, data: Option<&Path>, batch: Option<usize>, steps: usize) -> Result<String> {
    let size = batch_size(&bundle.manifest, batch)?;
    let (images, target) = match data {
        Some(folder) => read(bundle, folder, size)?,
        None => random_batch(bundle, size)?,
    };
    let scalars = Scalars::defaults(&bundle.manifest).with(&Setting::LearningRate, 0.0)?;
    TrainingStep::record(engine, bundle, (&images, &target), &scalars, steps)
}

/// Images per step: the bundle's own number, or `wish` where the bundle takes any.
pub fn batch_size(manifest: &Manifest, wish: Option<usize>) -> Result<usize> {
    images_per_step(manifest, wish, BATCH)
}

/// The folder's first batch, prepared as for evaluation.
fn read(bundle: &Bundle, folder: &Path, batch: usize) -> Result<(Tensor, Tensor)> {
    let manifest = &bundle.manifest;
    let known = KnownClasses {
        names: &manifest.classes,
        count: bundle.class_count()?,
        learnt: !manifest.has_new_head(),
        targets: Some(TargetKind::Class),
        ..KnownClasses::default()
    };
    let images = ImageFolder::open_for(folder, &known)?;
    let recipe = Recipe::new(&manifest.preprocessing, &manifest.data.input.shape)?;
    let options = LoaderOptions { last: crate::data::Last::Pad, ..LoaderOptions::evaluation(batch) };
    let loader = Loader::new(Arc::new(ImageDataset::new(images, recipe, Augment::NONE, 0)), options)?;
    let first = loader.start(0, 0)?.next().ok_or_else(|| Error::data(format!("{} gave no batch", folder.display())))??;
    Ok((first.data, first.target))
}

/// Random images, values in [−1, 1), and labels of all classes; the same every time.
pub fn random_batch(bundle: &Bundle, batch: usize) -> Result<(Tensor, Tensor)> {
    let shape: Vec<usize> = [batch].into_iter().chain(image_shape(&bundle.manifest)?).collect();
    let known = bundle.class_count()?.or(Some(bundle.manifest.classes.len())).filter(|n| *n > 0);
    let classes =
        known.ok_or_else(|| Error::model(format!("{} does not say how many classes its network has", bundle.dir.display())))? as i64;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    // Bytes are pixels.
    let range = if bundle.manifest.data.input.dtype == DType::U8 { 0.0..255.0 } else { -1.0..1.0 };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(range.clone())).collect();
    let labels: Vec<i64> = (0..batch).map(|_| rng.random_range(0..classes)).collect();
    Ok((Tensor::from_f32(&shape, &values), Tensor::from_i64(&[batch], &labels)))
}
