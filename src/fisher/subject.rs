//! A network as an object of the estimation.

use crate::artifact;
use crate::bundle::Images;
use crate::bundle::manifest::Preprocessing;
use crate::error::{Error, Result};
use crate::import::{BatchSize, ImportOptions, Imported, Network};
use crate::ir::{TensorType, ValueId};
use crate::onnx::SourceModel;
use crate::operator::fixed;
use crate::rewrite::{self, Prediction};

/// What can be known of a model before the size of its batches is chosen.
#[derive(Debug, Clone)]
pub struct FisherSubject {
    /// Type and shape of the input; the batch is 1.
    pub input: TensorType,
    /// The name of the input for images.
    pub input_name: String,
    /// How the network prepares its images itself, where it does.
    pub own: Option<Images>,
    /// The name of the classifier's output.
    pub output: String,
    /// K, the length of the network's output for one image.
    pub classes: usize,
    /// Bytes of all forward values of one image.
    pub activations: usize,
    /// Bytes of the largest parameter.
    pub largest: usize,
}

/// The network of a model, with its parameters as exporters wrote them. `input_shape`: sizes after the batch dimension, where the model leaves
/// them open.
pub fn network(source: SourceModel, input_shape: Option<Vec<usize>>) -> Result<Network> {
    Network::open(source, ImportOptions { batch: BatchSize::Fixed(1), input_shape, keep_ties: false })
}

/// Fails where the numbers that the network gives are probabilities and were taken for logits: it is run where its nodes do not show which.
pub(super) fn check_scores(network: &Network, preprocessing: &Preprocessing) -> Result<()> {
    let imported = network.at(BatchSize::Fixed(1))?;
    let chosen = rewrite::softmax_output(network.base(), None)?;
    artifact::check_scores(&imported, &Prediction::at(&imported.graph, chosen.index)?, preprocessing)
}

/// Looks at the network. Fails where it is no classifier.
pub fn look(network: &Network) -> Result<FisherSubject> {
    let imported = network.at(BatchSize::Fixed(1))?;
    // For any number of images the two axes of the output are told apart.
    let chosen = rewrite::softmax_output(network.base(), None)?;
    let Imported { graph, input, parameters, .. } = imported;
    let bytes = |v: ValueId| -> Result<usize> {
        let ty = graph.ty(v);
        let dims = fixed(ty).map_err(Error::internal)?;
        let size = dims.iter().try_fold(ty.dtype.size(), |size, &d| size.checked_mul(d));
        size.ok_or_else(|| Error::model(format!("a value of the shape {dims:?} fits no machine's memory")))
    };
    let sizes = |values: &mut dyn Iterator<Item = ValueId>| values.map(bytes).collect::<Result<Vec<_>>>();
    Ok(FisherSubject {
        input: graph.ty(input).clone(),
        input_name: graph.name_of(input).to_string(),
        own: rewrite::own_preparation(&graph),
        classes: chosen.tail.scores(),
        output: chosen.name,
        activations: sizes(&mut graph.ids().filter(|&v| graph.value(v).constant.is_none()))?.iter().sum(),
        largest: sizes(&mut parameters.iter().map(|p| p.value))?.into_iter().max().unwrap_or(0),
    })
}
