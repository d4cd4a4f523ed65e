//! What an exported model says about itself in `metadata_props`, so that it can be used without its bundle.

use super::class_names::{self, CLASSES_KEY};
use super::image_metadata::{self, ImageMetadata, PREPROCESSING_KEY};
use super::manifest::Manifest;
use super::prediction::PredictionPort;
use crate::error::{Error, Result};
use crate::onnx::pb;

/// Metadata key: which output is the classifier's and how to read it, the manifest's `prediction` as JSON.
pub const PREDICTION_KEY: &str = "spgraph.prediction";

/// What [`read_metadata`] finds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// How it wants images.
    pub images: ImageMetadata,
    /// How its outputs are read; `None` where the model does not say.
    pub prediction: Option<PredictionPort>,
}

/// Gives `model` what `donor` says its classes are called, in the place of its own names: they belong to the classifier.
pub fn adopt_class_names(model: &mut pb::ModelProto, donor: pb::ModelProto) {
    class_names::remove(model);
    model.metadata_props.extend(donor.metadata_props.into_iter().filter(class_names::is_one));
}

/// Writes the manifest's classes and preprocessing over what `model` says; names of a replaced head's classes go.
pub(super) fn write_metadata(model: &mut pb::ModelProto, manifest: &Manifest) -> Result<()> {
    let failed = |e: serde_json::Error| Error::model(format!("cannot write metadata: {e}"));
    let said = class_names::find(model)?;
    let others = said.doubt.is_some() || said.names != manifest.classes;
    let stale = if manifest.classes.is_empty() { manifest.has_new_head() } else { others };
    if stale {
        class_names::remove(model);
    }
    model.metadata_props.retain(|p| ![CLASSES_KEY, PREPROCESSING_KEY, PREDICTION_KEY].contains(&p.key()));
    let mut add = |key: &str, value: String| {
        model.metadata_props.push(pb::StringStringEntryProto { key: Some(key.into()), value: Some(value) });
    };
    if !manifest.classes.is_empty() {
        add(CLASSES_KEY, serde_json::to_string(&manifest.classes).map_err(failed)?);
    }
    if let Some(prediction) = &manifest.prediction {
        add(PREDICTION_KEY, serde_json::to_string(prediction).map_err(failed)?);
    }
    add(PREPROCESSING_KEY, serde_json::to_string(&manifest.preprocessing).map_err(failed)?);
    Ok(())
}

/// What the model says of its images and outputs, in spgraph's way or in others'. Fails where spgraph's own entries are damaged.
pub fn read_metadata(model: &pb::ModelProto) -> Result<Metadata> {
    let prediction = model.metadata_props.iter().find(|p| p.key() == PREDICTION_KEY).map(|p| serde_json::from_str(p.value())).transpose();
    let prediction =
        prediction.map_err(|e| Error::model(format!("the model's metadata `{PREDICTION_KEY}` is damaged ({e}): export it again")))?;
    Ok(Metadata { images: image_metadata::find(model)?, prediction })
}
