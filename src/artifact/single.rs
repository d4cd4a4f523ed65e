//! One file: the step with its whole state inside. Inputs with defaults are initializers of the same name, as ONNX has them, so that the first
//! call needs a batch alone; what a call gives for the state is fed to the next one. The manifest is in the metadata.

use super::Artifact;
use super::files::Files;
use super::models::{Models, manifest_entry};
use crate::bundle::Bundle;
use crate::error::Result;
use crate::onnx::{pb, to_proto};
use std::path::Path;

/// The row of the table.
pub struct SingleArtifact;

impl Artifact for SingleArtifact {
    fn name(&self) -> &'static str {
        "single"
    }

    fn marker(&self) -> &'static str {
        Bundle::STEP
    }

    fn file(&self) -> Option<&'static str> {
        Some(Bundle::STEP)
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        let mut files = Files::new(dir, models.external);
        files.write(Bundle::STEP, single(models)?)?;
        Ok(files.finish(&[Bundle::STEP])?.into_iter().map(|f| f.0).collect())
    }
}

/// The step whose state and scalars have defaults.
fn single(models: &Models) -> Result<pb::ModelProto> {
    let manifest = &models.manifest;
    let mut model = models.step.clone();
    let graph = Models::graph(&mut model)?;
    let state = models.whole_state()?;
    let state = manifest.state.iter().zip(&state).map(|(s, tensor)| to_proto(&s.input, tensor));
    graph.initializer.extend(models.defaults().iter().map(|(name, tensor)| to_proto(name, tensor)).chain(state));
    model.metadata_props.push(manifest_entry(manifest)?);
    Ok(model)
}
