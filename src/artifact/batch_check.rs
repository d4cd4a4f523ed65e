//! What was assumed about the batch, checked by running the network.
//!
//! Exporters that are shown one image write the 1 into shapes. Import takes such a number for the batch, by where it stands; whether
//! that is right is seen here: two images together must give what each gives by itself. So they must where a node may compute along the images
//! (a mean over all axes of one image that was shown to the exporter), as far as its rules tell. A network that can be read for one batch size
//! only shows nothing of the batch in its shapes; there an image must give the same in another place among other images.
//!
//! What a loss takes for logits must be none that sum to 1: where the nodes do not show that they are scores, the numbers do.

use super::noise::noise;
use crate::bundle::Meaning;
use crate::bundle::manifest::Preprocessing;
use crate::emit::{self, Dialect};
use crate::engine::{self, EngineChoice, EngineOptions, Session};
use crate::error::{Error, Result};
use crate::import::{Imported, may_mix};
use crate::ir::{Graph, Tensor, TensorType};
use crate::onnx;
use crate::operator::fixed;
use crate::rewrite::{Prediction, Product};
use crate::storage::temporaries::Scratch;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;

/// Norm-relative difference that float32 may make between two orders of summation.
const TOLERANCE: f64 = 1e-3;

/// Runs the network where a number in its shapes was taken for the batch, or where its nodes do not show that images keep apart or that its output is
/// scores. Fails where two images together do not give what two single ones give, with the difference, and where logits are probabilities.
pub(super) fn check(product: &Product) -> Result<()> {
    let freed = &product.plan.freed_batch;
    let fixed = product.evaluation_batch().filter(|&n| n > 1);
    let meeting = may_mix(&product.evaluation.graph);
    let tail = &product.plan.prediction.tail;
    let evident = tail.evident || product.plan.loss.reads_output();
    let alone = freed.is_empty() && fixed.is_none() && meeting.is_none();
    if alone && evident {
        return Ok(());
    }
    if alone {
        // What cannot be run here, or gives no numbers for noise, shows nothing.
        let single = || Trial::new(product).and_then(|mut trial| Ok([trial.given(&[0])?, trial.given(&[1])?].concat()));
        return single().map_or(Ok(()), |numbers| product.plan.prediction.gave_logits(&numbers));
    }
    let mut trial = Trial::new(product)?;
    let mut given = |order: &[usize]| trial.given(order);
    let (together, apart) = match fixed {
        // Two images, each in every place among its like, and both mixed so that no two places have the same neighbours all around.
        Some(n) => {
            let order: Vec<usize> = (0..n).map(|place| usize::from(place.count_ones() % 2 == 1)).collect();
            let (first, second, mixed) = (given(&vec![0; n])?, given(&vec![1; n])?, given(&order)?);
            let classes = first.len().checked_div(n).unwrap_or(0);
            let own = |image: &usize| if *image == 0 { &first } else { &second }.iter().copied().take(classes).collect::<Vec<_>>();
            let places = [vec![0; n], vec![1; n], order].concat();
            let apart = places.iter().flat_map(own).collect();
            ([first.clone(), second.clone(), mixed].concat(), apart)
        }
        None => (given(&[0, 1])?, [given(&[0])?, given(&[1])?].concat()),
    };
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference =
        square(&mut together.iter().zip(&apart).map(|(a, b)| a - b)) / square(&mut apart.iter().copied()).max(f64::MIN_POSITIVE);
    // A comparison that holds for no NaN.
    if together.len() == apart.len() && difference <= TOLERANCE {
        return if evident { Ok(()) } else { product.plan.prediction.gave_logits(&apart) };
    }
    let why = match freed.first() {
        Some(first) => {
            let (count, others) = (freed.len(), if freed.len() > 1 { " and others" } else { "" });
            format!("the model has its batch size written into {count} shapes (node `{first}`{others}), and it cannot be freed")
        }
        None if fixed.is_some() => "the model can be read for a fixed batch size only, and mixes its images".into(),
        None => {
            let node = meeting.map_or(String::new(), |n| format!(" (at node `{}`, {}, or behind it)", n.name, n.op_type));
            return Err(Error::model(format!(
                "the model mixes the images of a batch{node}: two images together do not give what each gives by itself (relative difference \
                 {difference:.2e}), so that a prediction would depend on its neighbours. Export the network so that it works on each image by itself"
            )));
        }
    };
    Err(Error::model(format!(
        "{why}: two images together do not give what each gives by itself (relative difference {difference:.2e}). Export the network with a dynamic \
         batch dimension"
    )))
}

/// The same of a network by itself, read for one image, whose `prediction` is taken for logits: it is run where its nodes do not show that.
pub(crate) fn check_scores(network: &Imported, prediction: &Prediction, preprocessing: &Preprocessing) -> Result<()> {
    if prediction.tail.evident {
        return Ok(());
    }
    let run = || -> Result<Vec<f64>> {
        let (graph, input) = (&network.graph, network.input);
        let (mut session, _folder) = loaded(graph)?;
        let dims = fixed(graph.ty(input)).map_err(Error::internal)?;
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let mut given = vec![];
        for _ in 0..2 {
            let image = noise(graph.ty(input).dtype, &dims, preprocessing, &mut random);
            let said = session.run(&[(graph.name_of(input), &image)])?.into_iter().nth(prediction.index);
            given.extend(said.ok_or_else(|| Error::internal("the network gives nothing"))?.to_f64()?);
        }
        Ok(given)
    };
    // What cannot be run here, or gives no numbers for noise, shows nothing.
    run().map_or(Ok(()), |numbers| prediction.gave_logits(&numbers))
}

/// The network, ready to be run, and two images of noise.
struct Trial<'a> {
    product: &'a Product,
    session: Box<dyn Session>,
    images: Vec<Tensor>,
    _folder: Scratch,
}

impl Trial<'_> {
    fn new(product: &Product) -> Result<Trial<'_>> {
        let (session, folder) = loaded(&product.evaluation.graph)?;
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let images = (0..2).map(|_| image(product, &mut random)).collect::<Result<_>>()?;
        Ok(Trial { product, session, images, _folder: folder })
    }

    /// What the classifier gives for the images in that order, as one batch.
    fn given(&mut self, order: &[usize]) -> Result<Vec<f64>> {
        run(self.product, self.session.as_mut(), &joined(&self.images, order)?)
    }
}

/// The network in the preferred engine, and the folder that it lies in.
fn loaded(graph: &Graph) -> Result<(Box<dyn Session>, Scratch)> {
    let folder = Scratch::new()?;
    let path = folder.path().join("network.onnx");
    onnx::write(&path, &emit::model(graph, Dialect::Inlined)?)?;
    Ok((load(&path)?, folder))
}

/// The network in the preferred engine, or in one that has a kernel for all of its types.
fn load(path: &Path) -> Result<Box<dyn Session>> {
    let of = |choice| engine::open(&EngineOptions { choice, ..EngineOptions::default() })?.load(path);
    of(EngineChoice::Auto).or_else(|failed| of(EngineChoice::Tract).map_err(|_| failed))
}

/// The images in that order, as one batch.
fn joined(images: &[Tensor], order: &[usize]) -> Result<Tensor> {
    let chosen: Vec<&Tensor> = order.iter().filter_map(|&i| images.get(i)).collect();
    let first = chosen.first().ok_or_else(|| Error::internal("no image is compared with another"))?;
    let values: Vec<Vec<f64>> = chosen.iter().map(|image| image.to_f64()).collect::<Result<_, _>>()?;
    let shape: Vec<usize> = std::iter::once(chosen.len()).chain(first.shape().iter().copied().skip(1)).collect();
    Ok(Tensor::from_floats(first.dtype(), &shape, &values.concat()))
}

/// An image of noise.
fn image(product: &Product, random: &mut ChaCha8Rng) -> Result<Tensor> {
    let graph = &product.evaluation.graph;
    let data = product.evaluation.inputs.iter().zip(&graph.inputs).find(|(meaning, _)| **meaning == Meaning::Data);
    let (_, &data) = data.ok_or_else(|| Error::internal("the network for evaluation takes no images"))?;
    let ty: &TensorType = graph.ty(data);
    let shape: Vec<usize> = std::iter::once(1).chain(ty.shape.iter().skip(1).map(|d| d.known().unwrap_or(1))).collect();
    Ok(noise(ty.dtype, &shape, &product.manifest.preprocessing, random))
}

/// The classifier's output for these images, from the state at the start.
fn run(product: &Product, session: &mut dyn Session, images: &Tensor) -> Result<Vec<f64>> {
    let missing = || Error::internal("the network for evaluation has an input that is neither images nor state");
    let graph = &product.evaluation.graph;
    let mut feeds = vec![];
    for (meaning, &value) in product.evaluation.inputs.iter().zip(&graph.inputs) {
        let tensor = match meaning {
            Meaning::Data => images,
            Meaning::State(name) => {
                let slot = product.state.iter().find(|s| s.name == *name).ok_or_else(missing)?;
                slot.start.as_ref().ok_or_else(missing)?
            }
            _ => return Err(missing()),
        };
        feeds.push((graph.name_of(value), tensor));
    }
    let chosen = product.plan.prediction.index;
    let said = session.run(&feeds)?.into_iter().nth(chosen);
    Ok(said.ok_or_else(|| Error::internal("the network for evaluation gives nothing"))?.to_f64()?)
}
