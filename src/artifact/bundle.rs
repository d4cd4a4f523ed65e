//! The bundle, spgraph's own artifact: graphs with the state as inputs and outputs, for the loop of `spgraph finetune` or any other.

use super::Artifact;
use super::files::Files;
use super::init::init_model;
use super::models::{Models, manifest_entry};
use crate::bundle::Bundle;
use crate::bundle::manifest::Manifest;
use crate::error::Result;
use crate::storage::files::write_sealed_json;
use std::path::Path;

/// The row of the table.
pub struct BundleArtifact;

/// The order in which the files are explained.
const ORDER: [&str; 7] = [Bundle::GRAD, Bundle::APPLY, Bundle::INIT, Bundle::STEP, Bundle::EVAL, Bundle::TEMPLATE, Bundle::WEIGHTS];

impl Artifact for BundleArtifact {
    fn name(&self) -> &'static str {
        "bundle"
    }

    fn marker(&self) -> &'static str {
        Bundle::MANIFEST
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        let manifest = &models.manifest;
        let mut files = Files::new(dir, models.external);
        if let Some([gradients, update]) = &models.halves {
            files.write(Bundle::GRAD, gradients.clone())?;
            files.write(Bundle::APPLY, update.clone())?;
        }
        files.write(Bundle::INIT, init_model(&manifest.state, &models.state)?)?;
        let mut step = models.step.clone();
        step.metadata_props.push(manifest_entry(manifest)?);
        files.write(Bundle::STEP, step)?;
        files.write(Bundle::EVAL, models.evaluation.clone())?;
        // Always whole: the tensors that are state are empty in it.
        files.write_whole(Bundle::TEMPLATE, &models.template)?;
        let written = files.finish(&ORDER)?;
        let names = written.iter().map(|(name, _)| name.clone()).chain([Bundle::MANIFEST.into()]).collect();
        write_sealed_json(&dir.join(Bundle::MANIFEST), true, &Manifest { files: written.into_iter().collect(), ..manifest.clone() })?;
        Ok(names)
    }
}
