//! What an exported model says about itself in `metadata_props`, so that it can be used without its bundle.

use super::class_names::{self, CLASSES_KEY, ClassNames};
use super::manifest::{Manifest, Port, Preprocessing};
use super::prediction::PredictionPort;
use crate::error::{Error, Result};
use crate::onnx::pb;

/// Metadata key: what is done to an image, the manifest's `preprocessing` as JSON.
pub const PREPROCESSING_KEY: &str = "spgraph.preprocessing";

/// Metadata key: which output is the classifier's and how to read it, the manifest's `prediction` as JSON.
pub const PREDICTION_KEY: &str = "spgraph.prediction";

/// What [`read_metadata`] finds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// What its classes are called.
    pub classes: ClassNames,
    /// What is done to an image; `None` where the model does not say.
    pub preprocessing: Option<Preprocessing>,
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

/// Class names and preprocessing of a model that spgraph exported; empty for any other. Fails where they are damaged.
pub fn read_metadata(model: &pb::ModelProto) -> Result<Metadata> {
    fn get<T: serde::de::DeserializeOwned>(model: &pb::ModelProto, key: &str) -> Result<Option<T>> {
        let found = model.metadata_props.iter().find(|p| p.key() == key);
        found
            .map(|p| serde_json::from_str(p.value()))
            .transpose()
            .map_err(|e| Error::model(format!("the model's metadata `{key}` is damaged ({e}): export it again")))
    }
    Ok(Metadata {
        classes: class_names::find(model)?,
        preprocessing: get(model, PREPROCESSING_KEY)?,
        prediction: get(model, PREDICTION_KEY)?,
    })
}

/// ImageNet's statistics, at the network's input size; one grey channel gets their mean.
pub fn default_preprocessing(data: &Port) -> Preprocessing {
    let mut p = Preprocessing::default();
    if let [_, channels, height, width] = data.shape[..] {
        // 224 from 256, and in that proportion; small images are taken as they are.
        let side = height.min(width).max(1) as usize;
        p.resize = if side >= 96 { (side * 8).div_ceil(7) } else { side };
        if channels == 1 {
            p.mean = vec![p.mean.iter().sum::<f32>() / 3.0];
            p.std = vec![p.std.iter().sum::<f32>() / 3.0];
        }
    }
    p
}
