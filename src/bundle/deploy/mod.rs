//! What an export can have besides the network: preprocessing before it, probabilities and the likeliest classes behind it, and where it comes from in
//! its metadata. Everything is written in operators of the opset that the source has.

mod nodes;
mod preprocess;
mod scores;

use super::metadata::PREDICTION_KEY;
use super::open::Bundle;
use super::prediction::PredictionPort;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::onnx::{self, pb};
use nodes::Nodes;
use serde::{Deserialize, Serialize};

/// What nodes that prepare images are called.
const IMAGES: &str = "spgraph/images";

/// Metadata key: where an export comes from, as JSON.
pub const PROVENANCE_KEY: &str = "spgraph.provenance";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deployment {
    /// The file takes images as they are decoded, `[N, height, width, 3]` bytes in the order red, green, blue.
    pub preprocess: bool,
    /// The scores become probabilities.
    pub softmax: bool,
    /// Class names also as others read them, in the metadata `names`.
    pub labels: bool,
    /// Two more outputs: the labels and the scores of so many likeliest classes.
    pub top: Option<usize>,
}

impl Deployment {
    /// Whether the graph is changed.
    pub fn changes_graph(&self) -> bool {
        self.preprocess || self.softmax || self.top.is_some()
    }
}

/// Where an exported network comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of spgraph that exported it.
    pub spgraph: String,
    /// File name of the model that it was made of.
    pub source: String,
    /// SHA-256 of that file.
    pub source_sha256: String,
    /// The penalty that held it.
    pub penalty: String,
    /// Learning rate and strengths that it was trained with.
    pub strengths: std::collections::BTreeMap<String, f64>,
    /// Steps of training; 0 for the starting point.
    pub steps: Option<u64>,
    /// SHA-256 over the training images' labels and paths.
    pub data_sha256: Option<String>,
}

/// Puts the provenance into the metadata, in the place of an older one.
pub fn sign(model: &mut pb::ModelProto, provenance: &Provenance) -> Result<()> {
    let text = serde_json::to_string(provenance).map_err(|e| Error::internal(format!("the provenance cannot be written: {e}")))?;
    set(model, PROVENANCE_KEY, text);
    Ok(())
}

fn set(model: &mut pb::ModelProto, key: &str, value: String) {
    model.metadata_props.retain(|p| p.key() != key);
    model.metadata_props.push(pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) });
}

/// Whether the model is an export that prepares its images itself.
pub fn prepares_images(model: &pb::ModelProto) -> bool {
    let outputs = model.graph.iter().flat_map(|g| &g.node).flat_map(|n| &n.output);
    outputs.filter_map(|name| name.strip_prefix(IMAGES)).any(|rest| rest.starts_with('/'))
}

/// Adds what is asked for to an export of `bundle`. Fails where the network or its opset does not allow it.
pub fn deploy(model: &mut pb::ModelProto, bundle: &Bundle, asked: &Deployment) -> Result<()> {
    let manifest = &bundle.manifest;
    if asked.labels {
        if manifest.classes.is_empty() {
            return Err(Error::option(
                Field::LABELS,
                ": the bundle does not know what its classes are called. Rewrite the model with their names",
            ));
        }
        let quoted = |name: &String| serde_json::to_string(name).map_err(|e| Error::internal(e.to_string()));
        let names = manifest.classes.iter().map(quoted).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = names.into_iter().enumerate().map(|(label, name)| format!("{label}: {name}")).collect();
        set(model, "names", format!("{{{}}}", names.join(", ")));
    }
    if !asked.changes_graph() {
        return Ok(());
    }
    let opset = onnx::standard_opsets(model).next().unwrap_or(0);
    let graph = model.graph.as_mut().ok_or_else(|| Error::model("the export has no graph"))?;
    if asked.softmax || asked.top.is_some() {
        let port = manifest.prediction.as_ref().ok_or_else(|| {
            Error::model("the bundle does not say which output is the classifier's: an older spgraph made it. Run `spgraph rewrite` again")
        })?;
        let mut nodes = Nodes::new(graph, "spgraph/scores", opset);
        let read = scores::add(&mut nodes, graph, port, asked)?;
        nodes.put_last(graph);
        let text = serde_json::to_string(&read).map_err(|e| Error::internal(e.to_string()))?;
        set(model, PREDICTION_KEY, text);
    }
    let graph = model.graph.as_mut().ok_or_else(|| Error::model("the export has no graph"))?;
    if asked.preprocess {
        let mut nodes = Nodes::new(graph, IMAGES, opset);
        preprocess::add(&mut nodes, graph, manifest)?;
        nodes.put_first(graph);
    }
    Ok(())
}

/// How the scores are read after [`scores::add`].
fn port(output: &str, activation: crate::loss::Activation, of: &PredictionPort) -> PredictionPort {
    PredictionPort { output: output.into(), activation, loss: of.loss.clone() }
}
