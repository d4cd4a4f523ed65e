//! The step of a bundle with spgraph's own operators, for ONNX Runtime in any program, with the library of these operators loaded. Its ports are those of
//! the bundle's step, which it takes the place of; everything else is the bundle's.

use super::Artifact;
use super::files::Files;
use super::models::{Models, manifest_entry};
use crate::engine::with_native_operators;
use crate::error::Result;
use std::path::Path;

/// The row of the table.
pub struct NativeArtifact;

/// Its one file.
const NATIVE: &str = "native.onnx";

impl Artifact for NativeArtifact {
    fn name(&self) -> &'static str {
        "native"
    }

    fn marker(&self) -> &'static str {
        NATIVE
    }

    fn file(&self) -> Option<&'static str> {
        Some(NATIVE)
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        let mut files = Files::new(dir, models.external);
        let mut step = with_native_operators(&models.step, dir)?;
        step.metadata_props.push(manifest_entry(&models.manifest)?);
        files.write(NATIVE, step)?;
        Ok(files.finish(&[NATIVE])?.into_iter().map(|f| f.0).collect())
    }
}
