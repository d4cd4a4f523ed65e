//! What an export has besides the network, run beside spgraph's own: its preprocessing beside that of `predict`, its outputs beside the plain network's.

use crate::bundle::{Bundle, Deployment};
use crate::data::Recipe;
use crate::engine::{self, EngineChoice, EngineOptions, Kernels, Session};
use crate::error::{Error, Result};
use crate::ir::{DType, Tensor};
use crate::onnx::{self, half, pb};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::path::Path;

/// Mean difference of a pixel, in levels of 256: the filter's weights are rounded otherwise.
const LEVELS: f64 = 0.05;
/// The largest difference of a pixel, in levels: a value may be rounded to the neighbour in each of the two passes.
const MOST: f64 = 2.01;
/// Norm-relative difference of outputs on the same input.
const TOLERANCE: f64 = 1e-4;

/// Runs `model`, the export with what was added, beside `plain`, the export without. Gives the largest difference of a pixel in levels of 256.
pub(super) fn check(bundle: &Bundle, asked: &Deployment, model: &pb::ModelProto, plain: &Path) -> Result<Option<f64>> {
    let wrong = |why: String| {
        Error::training(format!("what the export has besides the network does not compute what it should: {why}. Nothing was written"))
    };
    let folder = tempfile::tempdir()
        .map_err(crate::storage::files::plain)
        .map_err(Error::io("cannot create a temporary folder (TMPDIR says where) in", std::env::temp_dir()))?;
    let path = folder.path().join("deployed.onnx");
    let input = bundle.manifest.data.input.name.clone();
    let mut watched = model.clone();
    if asked.preprocess
        && let (Some(graph), Some(info)) = (watched.graph.as_mut(), plain_input(plain)?)
    {
        // What enters the network is seen, too.
        graph.output.push(info);
    }
    onnx::write(&path, &watched)?;
    let options = EngineOptions { choice: EngineChoice::Auto, kernels: Kernels::Auto, ..EngineOptions::default() };
    let engine = engine::open(&options)?;
    let (mut deployed, mut network) = (engine.load(&path)?, engine.load(plain)?);
    let recipe = Recipe::new(&bundle.manifest.preprocessing, &bundle.manifest.data.input.shape)?;
    let side = recipe.resize.max(8);
    // Half precision rounds more coarsely, here as in the export itself.
    let tolerance = TOLERANCE.max(half::rounding(model));
    let mut largest = None;
    let more = |by: u32| side.saturating_add(by);
    let half = (side / 2).saturating_add(1);
    let twice = side.saturating_mul(2).saturating_add(5);
    for (seed, (height, width)) in [(more(half), more(3)), (half, side), (side, twice)].into_iter().enumerate() {
        let (mut found, entered) = if asked.preprocess {
            let count = batch(network.as_ref()).unwrap_or(2);
            let image = noise(seed as u64, width, height)?;
            let bytes = image.as_raw().repeat(count);
            let images = Tensor::new(DType::U8, vec![count, height as usize, width as usize, 3], bytes)?;
            let name = first_input(deployed.as_ref())?;
            let mut found = deployed.run(&[(name.as_str(), &images)])?;
            let entered = found.pop().ok_or_else(|| wrong("it gives nothing".into()))?;
            let difference = pixels(&recipe, &image, &entered).map_err(wrong)?;
            largest = Some(difference.max(largest.unwrap_or(0.0)));
            (found, entered)
        } else {
            let shape: Vec<usize> = bundle.manifest.data.input.shape.iter().map(|&d| usize::try_from(d).unwrap_or(2)).collect();
            let shape = [&[batch(network.as_ref()).unwrap_or(2)], shape.get(1..).unwrap_or_default()].concat();
            let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
            let dtype = dtype(network.as_ref())?;
            let (low, range) = if dtype.is_float() { (-1.0, 2.0) } else { (0.0, 255.0) };
            let values = (0..shape.iter().product::<usize>()).map(|_| low + range * f64::from(random.next_u32()) / f64::from(u32::MAX));
            let images = Tensor::from_floats(dtype, &shape, &values.collect::<Vec<_>>());
            (deployed.run(&[(input.as_str(), &images)])?, images)
        };
        let expected = network.run(&[(input.as_str(), &entered)])?;
        let port = bundle.manifest.prediction.as_ref().map(|p| p.output.as_str());
        let place = network.signature().outputs.iter().position(|o| Some(o.name.as_str()) == port).unwrap_or(0);
        outputs(&mut found, &expected, place, (asked, tolerance), bundle).map_err(wrong)?;
    }
    Ok(largest)
}

fn plain_input(plain: &Path) -> Result<Option<pb::ValueInfoProto>> {
    let file = onnx::open(plain)?;
    let graph = file.graph()?;
    Ok(graph.input.iter().find(|i| !graph.initializer.iter().any(|t| t.name() == i.name())).cloned())
}

fn first_input(session: &dyn Session) -> Result<String> {
    Ok(session.signature().inputs.first().ok_or_else(|| Error::model("the export has no input"))?.name.clone())
}

fn batch(session: &dyn Session) -> Option<usize> {
    match session.signature().inputs.first()?.dims.as_ref()?.first()? {
        engine::PortDim::Known(n) => Some(*n),
        _ => None,
    }
}

fn dtype(session: &dyn Session) -> Result<DType> {
    session.signature().inputs.first().map(|i| i.dtype).ok_or_else(|| Error::model("the export's input has no known type"))
}

fn noise(seed: u64, width: u32, height: u32) -> Result<image::RgbImage> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = vec![0; (width as usize).saturating_mul(height as usize).saturating_mul(3)];
    random.fill_bytes(&mut bytes);
    image::RgbImage::from_raw(width, height, bytes).ok_or_else(|| Error::internal("an image has too few pixels"))
}

/// The largest difference between the network's input and what `predict` would feed, in levels of 256.
fn pixels(recipe: &Recipe, image: &image::RgbImage, entered: &Tensor) -> Result<f64, String> {
    let own = recipe.evaluate(image).map_err(|e| e.to_string())?;
    let own: Vec<f64> = match recipe.layout() {
        crate::bundle::Layout::Nchw => own.iter().map(|v| f64::from(*v)).collect(),
        crate::bundle::Layout::Nhwc => own.permuted_axes([1, 2, 0]).iter().map(|v| f64::from(*v)).collect(),
    };
    let found = entered.to_f64().map_err(|e| e.to_string())?;
    let found = found.get(..own.len()).ok_or("the input has another size")?;
    let [channels, height, width] = recipe.shape();
    let channel = |i: usize| match recipe.layout() {
        crate::bundle::Layout::Nchw => i.checked_div(height.saturating_mul(width)).unwrap_or(0),
        crate::bundle::Layout::Nhwc => i.checked_rem(channels).unwrap_or(0),
    };
    let differences: Vec<f64> = own.iter().zip(found).enumerate().map(|(i, (a, b))| (a - b).abs() / recipe.level(channel(i))).collect();
    let largest = differences.iter().copied().fold(0.0, f64::max);
    let mean = differences.iter().sum::<f64>() / differences.len().max(1) as f64;
    match largest <= MOST && mean <= LEVELS {
        true => Ok(largest),
        false => Err(format!(
            "an image of {}×{} differs by up to {largest:.2} of 256 levels, {mean:.3} on average",
            image.width(),
            image.height()
        )),
    }
}

/// Compares outputs; those that were added come last.
fn outputs(
    found: &mut [Tensor],
    expected: &[Tensor],
    place: usize,
    (asked, tolerance): (&Deployment, f64),
    bundle: &Bundle,
) -> Result<(), String> {
    let values = |t: &Tensor| t.to_f64().map_err(|e| e.to_string());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (found, mut expected) = (values(found)?, values(expected)?);
        if index == place && asked.softmax {
            expected = probabilities(bundle, &expected);
        }
        let norm = expected.iter().map(|v| v * v).sum::<f64>().sqrt();
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
        // A comparison that holds for no NaN.
        let same = found.len() == expected.len() && difference <= tolerance * norm;
        if !same {
            return Err(format!("output {index} differs by {:.1e} of its norm", difference / norm.max(f64::MIN_POSITIVE)));
        }
    }
    if let Some(k) = asked.top {
        let [labels, scores] = found.get(expected.len()..).unwrap_or_default() else {
            return Err("the likeliest classes are missing".into());
        };
        let whole = found.get(place).ok_or("the scores are missing")?;
        let (all, labels, scores) = (values(whole)?, values(labels)?, values(scores)?);
        let rows = whole.shape().first().copied().unwrap_or(1).max(1);
        let classes = all.len().checked_div(rows).unwrap_or(0).max(1);
        if Some(labels.len()) != rows.checked_mul(k) || scores.len() != labels.len() {
            return Err(format!("there are {} labels and {} scores for {rows} images", labels.len(), scores.len()));
        }
        for (all, (labels, scores)) in all.chunks_exact(classes).zip(labels.chunks_exact(k.max(1)).zip(scores.chunks_exact(k.max(1)))) {
            let mut sorted = all.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            for (i, (label, score)) in labels.iter().zip(scores).enumerate() {
                let label = *label as usize;
                if sorted.get(i) != Some(score) || all.get(label) != Some(score) {
                    return Err(format!("place {i} has the label {label} and the score {score}"));
                }
            }
        }
    }
    Ok(())
}

fn probabilities(bundle: &Bundle, scores: &[f64]) -> Vec<f64> {
    use crate::loss::Activation;
    let Some(port) = &bundle.manifest.prediction else { return scores.to_vec() };
    match (port.activation, port.loss.as_str()) {
        (Activation::None, "bce") => scores.iter().map(|s| 1.0 / (1.0 + (-s).exp())).collect(),
        (Activation::LogSoftmax, _) => scores.iter().map(|s| s.exp()).collect(),
        (Activation::None, _) => {
            let classes = bundle.manifest.class_count.unwrap_or(scores.len()).max(1);
            scores
                .chunks(classes)
                .flat_map(|row| {
                    let most = row.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = row.iter().map(|s| (s - most).exp()).sum();
                    row.iter().map(|s| (s - most).exp() / sum).collect::<Vec<_>>()
                })
                .collect()
        }
        _ => scores.to_vec(),
    }
}
