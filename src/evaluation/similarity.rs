//! How much the activations of a tuned network still say what the source network's said, layer by layer: for each channel the R² of the linear
//! regression of the tuned network's activation on the source network's, over images and places. For one variable that is the square of their
//! correlation. It is 1 where a channel does what it did, up to scale and shift.

use super::results::LayerSimilarity;
use crate::data::{Augment, ImageDataset, ImageFolder, Last, Loader, LoaderOptions, Recipe, as_input};
use crate::engine::{Engine, Session};
use crate::error::{Error, Result};
use crate::onnx::{self, pb};
use crate::operator::{Facts, Meaning};
use crate::ops::table;
use crate::storage::temporaries::Scratch;
use ndarray::IxDyn;
use std::path::Path;
use std::sync::Arc;

/// Sums over the pairs of one channel.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Sums {
    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// `None` where one of the two never changes.
    fn r2(&self) -> Option<f64> {
        let n = self.n;
        let (vx, vy) = (self.xx - self.x * self.x / n, self.yy - self.y * self.y / n);
        let cov = self.xy - self.x * self.y / n;
        // What rounding leaves of a constant.
        let real = |v: f64, squares: f64| v > 1e-12 * squares.max(f64::MIN_POSITIVE);
        (real(vx, self.xx) && real(vy, self.yy)).then(|| (cov * cov / (vx * vy)).min(1.0))
    }
}

/// Lower quartile, median and upper quartile, with linear interpolation; of at least one value.
fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|q| {
        let at = q * values.len().saturating_sub(1) as f64;
        let value = |place: f64| values.get(place as usize).copied().unwrap_or(f64::NAN);
        let (low, high) = (value(at.floor()), value(at.ceil()));
        low + (high - low) * at.fract()
    })
}

/// The activations of a network, in the order of computation.
fn activations(graph: &pb::GraphProto) -> Vec<String> {
    let of = |wanted: fn(Facts) -> bool| -> Vec<String> {
        let known = graph.node.iter().filter(|n| table::find(n.op_type()).is_some_and(|operator| wanted(operator.facts())));
        known.filter_map(|n| n.output.first().cloned()).collect()
    };
    let found = of(|facts| facts.activation);
    if found.is_empty() { of(|facts| matches!(facts.meaning, Meaning::Convolution | Meaning::MatrixProduct)) } else { found }
}

/// The network with `layers` as its outputs.
fn tapped(mut model: pb::ModelProto, layers: &[String]) -> Result<pb::ModelProto> {
    let graph = model.graph.as_mut().ok_or_else(|| Error::internal("a network without a graph"))?;
    // All of one type, that of the scores; shapes are for the runtime to find.
    let mut kind = graph.output.first().and_then(|o| o.r#type.clone()).unwrap_or_default();
    if let Some(pb::type_proto::Value::TensorType(tensor)) = &mut kind.value {
        tensor.shape = None;
    }
    graph.output = layers
        .iter()
        .map(|name| pb::ValueInfoProto { name: Some(name.clone()), r#type: Some(kind.clone()), ..Default::default() })
        .collect();
    Ok(model)
}

fn load(engine: &dyn Engine, dir: &Path, name: &str, model: pb::ModelProto) -> Result<Box<dyn Session>> {
    let path = dir.join(name);
    onnx::write(&path, &model)?;
    engine.load(&path)
}

/// Compares `tuned` with `start`, which have the same nodes, on the images of `folder`.
pub fn by_layer(
    engine: &dyn Engine,
    start: pb::ModelProto,
    tuned: pb::ModelProto,
    folder: ImageFolder,
    recipe: Recipe,
) -> Result<Vec<LayerSimilarity>> {
    let layers = tuned.graph.as_ref().map(activations).unwrap_or_default();
    let dir = Scratch::new()?;
    let mut before = load(engine, dir.path(), "start.onnx", tapped(start, &layers)?)?;
    let mut after = load(engine, dir.path(), "tuned.onnx", tapped(tuned, &layers)?)?;
    let input = before
        .signature()
        .inputs
        .first()
        .map(|p| (p.name.clone(), p.dtype))
        .ok_or_else(|| Error::internal("a network without an input"))?;
    let dataset = ImageDataset::new(folder, recipe, Augment::NONE, 0);
    let options =
        LoaderOptions { last: Last::Drop, threads: 1, ..LoaderOptions::evaluation(BATCH.min(crate::data::Dataset::len(&dataset))) };
    let loader = Loader::new(Arc::new(dataset), options)?;
    let mut sums: Vec<Vec<Sums>> = vec![vec![]; layers.len()];
    for batch in loader.start(0, 0)? {
        let data = as_input(&batch?.data, input.1)?;
        let feeds = [(input.0.as_str(), &data)];
        let (x, y) = (before.run(&feeds)?, after.run(&feeds)?);
        for ((x, y), sums) in x.iter().zip(&y).zip(&mut sums) {
            add(sums, x.floats::<IxDyn>()?.view(), y.floats::<IxDyn>()?.view());
        }
    }
    let rows = layers.into_iter().zip(sums).filter_map(|(layer, sums)| {
        let mut values: Vec<f64> = sums.iter().filter_map(Sums::r2).collect();
        (!values.is_empty()).then(|| LayerSimilarity { layer, channels: values.len(), quartiles: quartiles(&mut values) })
    });
    Ok(rows.collect())
}

/// Images at a time.
const BATCH: usize = 20;

/// Adds a batch; the second axis is that of the channels.
fn add(sums: &mut Vec<Sums>, x: ndarray::ArrayViewD<f64>, y: ndarray::ArrayViewD<f64>) {
    let Some(&channels) = x.shape().get(1).filter(|_| x.shape() == y.shape()) else { return };
    sums.resize(channels, Sums::default());
    for ((x, y), sums) in x.axis_iter(ndarray::Axis(1)).zip(y.axis_iter(ndarray::Axis(1))).zip(sums) {
        x.iter().zip(&y).for_each(|(&x, &y)| sums.add(x, y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_is_that_of_a_regression() {
        // numpy.corrcoef(x, y)[0, 1] ** 2
        let (x, y) = ([0.5, 1.25, -2.0, 3.5, 0.0, 1.0], [1.0, 2.0, -1.5, 2.5, 0.25, 4.0]);
        let mut sums = Sums::default();
        x.iter().zip(y).for_each(|(&x, y)| sums.add(x, y));
        assert!((sums.r2().unwrap() - R2_BY_NUMPY).abs() < 1e-12, "{:?}", sums.r2());
        let mut scaled = Sums::default();
        x.iter().for_each(|&x| scaled.add(x, 3.0 - 2.0 * x));
        assert!((scaled.r2().unwrap() - 1.0).abs() < 1e-12);
        let mut constant = Sums::default();
        x.iter().for_each(|&x| constant.add(x, 0.1));
        assert_eq!(constant.r2(), None);
    }

    const R2_BY_NUMPY: f64 = 0.5695740107724484;

    #[test]
    fn quartiles_are_numpys() {
        // numpy.percentile([3, 1, 2, 10], [25, 50, 75])
        assert_eq!(quartiles(&mut [3.0, 1.0, 2.0, 10.0]), [1.75, 2.5, 4.75]);
        assert_eq!(quartiles(&mut [3.0]), [3.0; 3]);
    }
}
