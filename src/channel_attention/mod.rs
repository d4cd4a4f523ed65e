//! Attention weights for DELTA: how much the loss on the target's images rises where one filter is switched off.
//!
//! After Li et al. (ICLR 2019, arXiv 1901.09229) and the Transfer-Learning-Library: with a classifier trained on the source's features, for
//! each channel `j` of a layer `d_j = loss(channel j is 0) − loss`, and
//!
//! ```text
//! z_j = (d_j − mean(d)) / std(d)          a_j = C · exp(z_j/5) / Σ_i exp(z_i/5)
//! ```
//!
//! so that the mean of a layer's weights is 1. The network runs once for each batch up to the layers; what lies behind a layer is a graph of
//! its own with a mask on the layer's channels, which runs once for each of them.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod graph;

use crate::data::{Augment, ImageDataset, ImageFolder, KnownClasses, Loader, LoaderOptions, Recipe, TargetKind, as_input};
use crate::engine::{self, EngineOptions, Session};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{BatchSize, ImportOptions, import};
use crate::ir::Tensor;
use crate::loss;
use crate::onnx::{self, ExternalData, SourceModel};
use crate::rewrite::{self, taps};
use crate::storage::channel_attention_file::{self, FORMAT, Info};
use crate::storage::files::OutputFile;
use crate::storage::fisher_file::SourceInfo;
use crate::storage::inputs::check_among;
use crate::storage::temporaries::Scratch;
use crate::train::{RunState, Subject};
use graph::{Behind, Cut, cut};
use ndarray::{Array1, ArrayView1};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Options of [`attention`].
#[derive(Debug, Clone)]
pub struct AttentionOptions {
    /// A run that started from the pretrained model, with a trained classifier.
    pub run: PathBuf,
    /// Which of the run's weights the classifier is taken with.
    pub which: RunState,
    /// The target's images, one sub-folder per class.
    pub data: PathBuf,
    /// The file that is written.
    pub output: PathBuf,
    /// Replace the file if it exists.
    pub force: bool,
    /// Patterns on the weights of the layers; with none given those that DELTA compares by default.
    pub layers: Vec<String>,
    /// At most so many images, chosen at random, rounded up to whole batches.
    pub images: usize,
    /// Images per call, for which the graphs are built.
    pub batch: usize,
    /// Decides which images are chosen.
    pub seed: u64,
    /// The runtime that measures.
    pub engine: EngineOptions,
    /// Threads that load images, 0 for one per core.
    pub workers: usize,
}

/// One layer's result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerAttention {
    /// The alias of its weight.
    pub layer: String,
    /// C, the weight's output channels.
    pub channels: usize,
    /// By how much the loss rises without a channel, on the average over the channels.
    pub mean_rise: f64,
    /// The rise without [`LayerAttention::channel`].
    pub largest_rise: f64,
    /// The channel whose loss would hurt most.
    pub channel: usize,
    /// The smallest weight; the mean is 1.
    pub smallest: f64,
    /// The weight of [`LayerAttention::channel`].
    pub largest: f64,
}

/// What [`attention`] did.
#[derive(Debug, Clone, Serialize)]
pub struct AttentionResult {
    /// The file that was written.
    #[serde(serialize_with = "crate::storage::path_text::shown")]
    pub path: PathBuf,
    /// The runtime, for people.
    pub engine: String,
    /// Images that were measured.
    pub images: usize,
    /// With every filter on.
    pub loss: f64,
    /// For everything, from opening the run to writing the file.
    pub seconds: f64,
    /// In the order of the network.
    pub layers: Vec<LayerAttention>,
}

/// Measures the attention and writes the file. `done` hears after each channel how many (batch, channel) pairs there are done and in all.
pub fn attention(options: &AttentionOptions, stop: &AtomicBool, done: &mut dyn FnMut(u64, u64)) -> Result<AttentionResult> {
    if options.images == 0 || options.batch == 0 {
        return Err(Error::usage(format!("{} 0 and {} 0 make no sense: give numbers of images", Field::IMAGES, Field::BATCH)));
    }
    let out = OutputFile::create(&options.output, options.force)?;
    drop(out);
    let start = Instant::now();
    let subject = Subject::open(&options.run)?;
    subject.inputs().with_data([&options.data]).check_file(&options.output)?;
    let bundle = match &subject {
        Subject::Run(run) => &run.bundle,
        _ => {
            return Err(Error::usage(format!(
                "{} is no run of `spgraph finetune`. Attention needs a trained classifier on the pretrained features: rewrite the model with \
                 {} N {} 'fc.*' (the name of its classifier), and fine-tune that for a few epochs",
                options.run.display(),
                Field::CLASSES,
                Field::TRAIN
            )));
        }
    };
    let m = &bundle.manifest;
    let proto = crate::bundle::tuned(bundle, &subject.state(options.which)?)?;
    let dir = bundle.dir.clone();
    let model = SourceModel { proto, path: bundle.template(), external: ExternalData::new(&dir), dir, sha256: String::new(), bytes: 0 };
    let sizes = m.data.input.shape.iter().skip(1).map(|&d| usize::try_from(d)).collect::<std::result::Result<_, _>>();
    let shape = sizes.map_err(|_| Error::model(format!("the images of {} have no fixed size", bundle.dir.display())))?;
    let import_options = ImportOptions { batch: BatchSize::Fixed(options.batch), input_shape: Some(shape), keep_ties: false };
    let imported = import(&model, &import_options)?;
    let taps = taps(&imported, &options.layers)?;
    let name = m.prediction.as_ref().map(|p| p.output.as_str());
    let prediction = rewrite::choose(&imported, name)?;
    let tail = &prediction.tail;
    let data_loss = match &m.prediction {
        Some(p) => loss::data_loss(&p.loss)?,
        None => loss::usual(tail.activation),
    };
    let Cut { before, names, behind } = cut(&imported, &taps, &prediction, data_loss)?;

    let engine = engine::open(&options.engine)?;
    let folder = Scratch::new()?;
    let load = |name: &str, model: &onnx::pb::ModelProto| -> Result<Box<dyn Session>> {
        let path = folder.path().join(name);
        onnx::write(&path, model)?;
        engine.load(&path)
    };
    let mut first = load("before.onnx", &before)?;
    let mut rest = vec![];
    for (i, b) in behind.iter().enumerate() {
        rest.push(load(&format!("behind{i}.onnx"), &b.model)?);
    }

    let count = Some(loss::class_count(tail.scores()));
    let images = ImageFolder::open_for(
        &options.data,
        &KnownClasses { names: &m.classes, count, learnt: !m.has_new_head(), targets: Some(TargetKind::Class), ..KnownClasses::default() },
    )?;
    check_among(&options.output, (0..images.len()).filter_map(|index| images.path(index)))?;
    let recipe = Recipe::new(&m.preprocessing, &m.data.input.shape)?;
    let dataset = ImageDataset::new(images, recipe, Augment::NONE, 0);
    let loader_options =
        LoaderOptions { shuffle: true, seed: options.seed, threads: options.workers, ..LoaderOptions::evaluation(options.batch) };
    let loader = Loader::new(Arc::new(dataset), loader_options)?;
    let batches = loader.batches_per_epoch().min(options.images.div_ceil(options.batch));
    let total = (batches as u64).saturating_mul(behind.iter().map(|b| b.channels as u64).sum());
    let mut rises: Vec<Array1<f64>> = behind.iter().map(|b| Array1::zeros(b.channels)).collect();
    let (mut seen, mut loss, mut pairs) = (0usize, 0.0, 0u64);
    for batch in loader.start(0, 0)?.take(batches) {
        let batch = batch?;
        let data = as_input(&batch.data, m.data.input.dtype)?;
        let values = first.run(&[(m.data.input.name.as_str(), &data)])?;
        let weight = batch.valid as f64;
        let mut base = 0.0;
        for ((b, session), rises) in behind.iter().zip(&mut rest).zip(&mut rises) {
            let mut run = |mask: Option<usize>| measure(session.as_mut(), b, &names, &values, &batch.target, mask);
            let whole = run(None)?;
            base = whole;
            for (channel, rise) in rises.iter_mut().enumerate() {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted("measuring was stopped; nothing was written".into()));
                }
                *rise += weight * (run(Some(channel))? - whole);
                pairs = pairs.saturating_add(1);
                done(pairs, total);
            }
        }
        seen = seen.saturating_add(batch.valid);
        loss += weight * base;
    }
    let (mut layers, mut results) = (vec![], vec![]);
    for (tap, rises) in taps.iter().zip(rises) {
        let rises = rises.mapv(|r| r / seen.max(1) as f64);
        let weights = shares(rises.view());
        results.push(summary(&tap.alias, rises.view(), weights.view())?);
        layers.push((tap.weight.clone(), weights));
    }
    let info = Info {
        format: FORMAT,
        spgraph: env!("CARGO_PKG_VERSION").into(),
        source: SourceInfo { file: m.source.file.clone(), sha256: m.source.sha256.clone() },
        images: seen,
        loss: loss / seen.max(1) as f64,
    };
    channel_attention_file::write(&options.output, options.force, &info, &layers)?;
    Ok(AttentionResult {
        path: options.output.clone(),
        engine: engine.describe(),
        images: seen,
        loss: info.loss,
        seconds: start.elapsed().as_secs_f64(),
        layers: results,
    })
}

/// Fails where a loss was no number.
fn summary(layer: &str, rises: ArrayView1<f64>, weights: ArrayView1<f64>) -> Result<LayerAttention> {
    if let Some(wrong) = rises.iter().find(|r| !r.is_finite()) {
        return Err(Error::training(format!("the loss without a channel of {layer} rises by {wrong}: has the run diverged?")));
    }
    let (most, largest) = rises.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
    Ok(LayerAttention {
        layer: layer.to_string(),
        channels: rises.len(),
        mean_rise: rises.iter().sum::<f64>() / rises.len().max(1) as f64,
        largest_rise: largest,
        channel: most,
        smallest: weights.fold(f64::INFINITY, |least, &w| least.min(w)),
        largest: weights.fold(0.0, |most, &w| w.max(most)),
    })
}

/// The mean loss of the batch without a channel, or with all.
fn measure(
    session: &mut dyn Session,
    behind: &Behind,
    names: &[String],
    values: &[Tensor],
    target: &Tensor,
    off: Option<usize>,
) -> Result<f64> {
    let on = Array1::from_shape_fn(behind.channels, |channel| Some(channel) != off);
    let mask = Tensor::from(on).cast(behind.dtype)?.reshaped(behind.mask_shape.clone())?;
    let mut feeds: Vec<(&str, &Tensor)> = vec![(&behind.target, target), (&behind.mask, &mask)];
    for name in &behind.reads {
        let value = names.iter().position(|n| n == name).and_then(|i| values.get(i));
        feeds.push((name, value.ok_or_else(|| Error::engine(format!("the first part of the network did not give `{name}`")))?));
    }
    let found = session.run(&feeds)?;
    let loss = found.first().ok_or_else(|| Error::engine("the second part of the network gave no loss"))?.to_f64()?;
    loss.first().copied().ok_or_else(|| Error::engine("the loss is empty"))
}

/// `C · softmax(z/5)` of the standardised values; all 1 where none differs from another.
fn shares(rises: ArrayView1<f64>) -> Array1<f64> {
    let count = rises.len().max(1) as f64;
    let mean = rises.iter().sum::<f64>() / count;
    let deviation = (rises.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / count).sqrt();
    let scale = if deviation > 0.0 { 1.0 / (5.0 * deviation) } else { 0.0 };
    let exponents = rises.mapv(|r| ((r - mean) * scale).exp());
    let sum: f64 = exponents.iter().sum();
    exponents.mapv(|e| e * count / sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::aview1;

    /// Computed with numpy: `d = [0.1, 0.4, -0.2, 0.0]`, `z = (d - d.mean()) / d.std()`, `4 * exp(z/5) / exp(z/5).sum()`.
    #[test]
    fn weights_are_the_softmax_of_a_fifth_of_the_z_score() {
        let found = shares(aview1(&[0.1, 0.4, -0.2, 0.0]));
        for (a, b) in found.iter().zip([1.0027437568, 1.3229553411, 0.7600370251, 0.914263877]) {
            assert!((a - b).abs() < 1e-9, "{found:?}");
        }
        assert_eq!(shares(aview1(&[0.3, 0.3])), aview1(&[1.0, 1.0]));
    }
}
