//! How the numbers that a network gives out are read: as probabilities, and as its loss.

use crate::bundle::{Bundle, Images, PredictionPort, read_metadata};
use crate::emit;
use crate::engine::EngineChoice;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::{BatchSize, ImportOptions, Network, is_excessive, is_judged};
use crate::ir::{Dim, TensorType};
use crate::loss::{self, Activation, DataLoss};
use crate::onnx::{self, ModelFile, pb};
use crate::rewrite::{self, Prediction};
use crate::storage::machine;
use ndarray::{Array2, ArrayView1};
use std::path::Path;

/// Which output is read, and how.
#[derive(Debug, Clone)]
pub(super) struct Readout {
    /// Its place among the outputs.
    pub index: usize,
    /// Scores for each image, where they are known beforehand.
    pub scores: Option<usize>,
    /// `None` where only the numbers themselves can tell.
    activation: Option<Activation>,
    loss: &'static dyn DataLoss,
    /// What had to be assumed before the network was run, for people.
    pub assumed: Option<String>,
    /// Whether its numbers decided that they are probabilities.
    pub decided: bool,
    /// How the network prepares its images itself, where it does.
    pub own: Option<Images>,
    /// The model that is run instead, whose outputs are those that are read: it lacks those before which spgraph does not know something.
    pub instead: Option<pb::ModelProto>,
}

/// What a network gives for a batch.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Images × scores.
    pub given: Array2<f64>,
    activation: Activation,
    loss: &'static dyn DataLoss,
}

impl Scores {
    /// What the network says about each class for one image of the batch.
    pub fn probabilities(&self, image: usize) -> Vec<f64> {
        self.loss.probabilities(self.activation, &self.row(image).to_vec())
    }

    /// What the network says for one image, with every score made a probability where the loss knows how: such numbers of several views of an image
    /// can be averaged.
    pub(super) fn outputs(&self, image: usize) -> Vec<f64> {
        let all = self.probabilities(image);
        match self.given.ncols() {
            1 => all.last().copied().into_iter().collect(),
            _ => all,
        }
    }

    /// One image, given by the mean of [`Scores::outputs`] over its views.
    pub(super) fn of_mean(&self, mean: Vec<f64>) -> Result<Scores> {
        let activation = match self.loss {
            loss if loss.reads_output() => self.activation,
            loss if loss.kind() == "bce" => Activation::Sigmoid,
            _ => Activation::Softmax,
        };
        let given =
            Array2::from_shape_vec((1, mean.len()), mean).map_err(|e| Error::internal(format!("scores cannot be averaged: {e}")))?;
        Ok(Scores { given, activation, loss: self.loss })
    }

    /// Numbers in the order of the classes' probabilities, of which large ones are not rounded to 1.
    pub fn ranking(&self, image: usize) -> Vec<f64> {
        match self.given.ncols() {
            1 => self.probabilities(image),
            _ => self.row(image).to_vec(),
        }
    }

    /// The network's loss for that image with the right class `label`.
    pub fn loss(&self, image: usize, label: usize) -> f64 {
        self.loss.value(self.activation, &self.row(image).to_vec(), label)
    }

    /// The network's loss for that image with a number for every score as its target.
    pub fn soft_loss(&self, image: usize, targets: &[f64]) -> f64 {
        self.loss.soft_value(self.activation, &self.row(image).to_vec(), targets)
    }

    /// What the network gives out for that image.
    pub(super) fn numbers(&self, image: usize) -> Vec<f64> {
        self.row(image).to_vec()
    }

    fn row(&self, image: usize) -> ArrayView1<'_, f64> {
        self.given.row(image)
    }
}

impl Readout {
    /// Of a bundle, with the output that its manifest names.
    pub fn of_bundle(bundle: &Bundle) -> Result<Readout> {
        let file = onnx::open(bundle.eval())?;
        match &bundle.manifest.prediction {
            Some(port) => Readout::named(file.graph()?, port, bundle.manifest.class_count),
            // Bundles of older versions are read by the graph.
            None => {
                let graph = emit::read(&file, None)?;
                Ok(Readout::seen(&Prediction::at(&graph, 0)?))
            }
        }
    }

    /// Of a model: as its metadata says, else as its graph does. `output` chooses among several.
    ///
    /// Fails for models that `engine` would run though they are wrong, or that ask for more than a machine has.
    pub fn of_model(file: &ModelFile, output: Option<&str>, input_shape: Option<&[usize]>, engine: EngineChoice) -> Result<Readout> {
        onnx::check_dimensions(file.graph()?)?;
        let port = read_metadata(&file.proto)?.prediction.filter(|p| output.is_none_or(|name| name == p.output));
        let options = ImportOptions { batch: BatchSize::Fixed(1), input_shape: input_shape.map(<[usize]>::to_vec), keep_ties: true };
        let network = Network::open(onnx::read(&file.path)?, options);
        check(&file.path, &network, engine)?;
        let base = network.as_ref().ok().map(Network::base);
        // An output that is left out of a training is no less there: then the whole file is run.
        let asked = output.or(port.as_ref().map(|p| p.output.as_str()));
        let left = base.and_then(|base| base.left_out.iter().find(|l| Some(l.output.as_str()) == asked));
        let instead = base.filter(|_| left.is_none()).and_then(|base| base.without_left_out(&file.proto));
        let instead = instead.or_else(|| onnx::part::with_tensors_alone(&file.proto));
        let given = instead.as_ref().and_then(|m| m.graph.as_ref()).map_or_else(|| file.graph(), Ok)?;
        let own = base.and_then(|base| rewrite::own_preparation(&base.graph));
        if let Some(port) = port {
            let named = Readout::named(given, &port, None)?;
            return Ok(Readout { instead, ..named });
        }
        let names: Vec<&str> = file.graph()?.output.iter().map(|o| o.name()).collect();
        let place = |name: &str| given.output.iter().position(|o| o.name() == name);
        let why = match (&network, left) {
            (_, Some(left)) => left.refusal.to_string(),
            (Ok(network), None) => {
                let prediction = rewrite::choose(network.base(), output).map_err(|e| with_left_out(e, network, output))?;
                prediction.has_logits(&network.base().graph)?;
                let seen = Readout { own, instead, ..Readout::seen(&prediction) };
                return Ok(match prediction.tail.evident || prediction.tail.scores() < 2 {
                    true => seen,
                    false => Readout { activation: None, ..seen },
                });
            }
            (Err(Error::Unsupported(refused)), None) => match refused.first() {
                Some(first) => format!("node `{}` ({}): {}", first.node, first.op, first.reason),
                None => "its graph is not understood".into(),
            },
            (Err(error), None) => error.to_string(),
        };
        // What spgraph cannot train it can still run.
        let (index, name) = match output {
            Some(name) if !names.contains(&name) => return Err(unknown(name, &names)),
            Some(name) => (place(name), name),
            None if names.len() < 2 => (names.first().and_then(|name| place(name)), names.first().copied().unwrap_or_default()),
            None => {
                return Err(Error::model(format!(
                    "the model has the outputs {}, and which of them is the classifier's is not clear ({why}). Name it with {} NAME",
                    names.join(", "),
                    Field::PREDICTION
                )));
            }
        };
        let index = index.ok_or_else(|| Error::model(format!("the model's output `{name}` holds no numbers, and no scores of classes")))?;
        let what = left.map_or("the model is not understood as a graph", |_| "a part of the model is not understood");
        let assumed =
            format!("{what} ({why}); assuming that its output {name} holds probabilities where each image's sum to 1, else logits");
        Ok(Readout {
            index,
            scores: None,
            activation: None,
            loss: loss::usual(Activation::None),
            assumed: Some(assumed),
            decided: false,
            own,
            instead,
        })
    }

    fn named(graph: &pb::GraphProto, port: &PredictionPort, classes: Option<usize>) -> Result<Readout> {
        let names: Vec<&str> = graph.output.iter().map(|o| o.name()).collect();
        let index = names.iter().position(|n| *n == port.output).ok_or_else(|| unknown(&port.output, &names))?;
        let (activation, loss) = (port.activation, loss::data_loss(&port.loss)?);
        Ok(Readout { index, scores: classes, activation: Some(activation), loss, assumed: None, decided: false, own: None, instead: None })
    }

    fn seen(prediction: &Prediction) -> Readout {
        let (activation, scores) = (prediction.tail.activation, prediction.tail.scores());
        // A single score is of two classes, whatever makes it.
        let loss = if scores == 1 { loss::usual(Activation::Sigmoid) } else { loss::usual(activation) };
        Readout {
            index: prediction.index,
            scores: Some(scores),
            activation: Some(activation),
            loss,
            assumed: None,
            decided: false,
            own: None,
            instead: None,
        }
    }

    /// What the loss is, for people.
    pub fn loss_name(&self) -> &'static str {
        self.loss.summary()
    }

    /// The loss's name in files.
    pub fn loss_kind(&self) -> &'static str {
        self.loss.kind()
    }

    /// The numbers that the network gave for a batch.
    pub fn read(&mut self, given: Array2<f64>) -> Scores {
        let activation = *self.activation.get_or_insert_with(|| {
            let numbers: Vec<f64> = given.iter().copied().collect();
            self.decided = rewrite::are_probabilities(&numbers, given.ncols());
            if self.decided { Activation::Softmax } else { Activation::None }
        });
        Scores { given, activation, loss: self.loss }
    }
}

/// Fails for what a runtime should not be asked to do: impossible numbers, and values that the machine's memory does not hold.
fn check(path: &Path, network: &Result<Network>, engine: EngineChoice) -> Result<()> {
    let shown = path.display();
    match network {
        Ok(network) => {
            let memory = machine::memory().unwrap_or(u64::MAX);
            let bytes = |ty: &TensorType| match ty.count() {
                Some(Dim::Known(n) | Dim::Batch(n)) => n.checked_mul(ty.dtype.size()).map_or(u64::MAX, |n| n as u64),
                None => 0,
            };
            let graph = &network.base().graph;
            match graph.values.iter().find(|value| bytes(&value.ty) > memory) {
                Some(value) => Err(Error::model(format!(
                    "{shown} cannot be run: its value `{}`, {}, is larger than this machine's memory",
                    value.name, value.ty
                ))),
                None => Ok(()),
            }
        }
        // ONNX Runtime holds a model to ONNX itself. tract does not, and would give numbers for what says nothing.
        Err(Error::Unsupported(refused)) => {
            match refused.iter().find(|r| is_excessive(r) || (engine == EngineChoice::Tract && is_judged(r))) {
                Some(refusal) => Err(Error::model(format!("{shown} cannot be run: {refusal}"))),
                None => Ok(()),
            }
        }
        // What else is wrong a runtime may take another way.
        Err(_) => Ok(()),
    }
}

/// Where no output was named and none was found: the names of those that can be run and not trained.
fn with_left_out(error: Error, network: &Network, output: Option<&str>) -> Error {
    let scores = network.base().left_out.iter().filter(|_| output.is_none());
    match scores.map(|l| format!("`{}`", l.output)).collect::<Vec<_>>() {
        none if none.is_empty() => error,
        names => Error::model(format!("{error}. What cannot be trained can be run, with {} NAME: {}", Field::PREDICTION, names.join(", "))),
    }
}

fn unknown(name: &str, names: &[&str]) -> Error {
    Error::option(Field::PREDICTION, format!(" {name} is no output of the model, which has {}", names.join(", ")))
}
