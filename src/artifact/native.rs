//! The step of a bundle with spgraph's own operators, for ONNX Runtime in any program, with the library of these operators loaded. Its ports are those of
//! the bundle's step, which it takes the place of; everything else is the bundle's.

use super::Artifact;
use super::files::Files;
use super::models::{Models, manifest_entry};
use crate::engine::with_native_operators;
use crate::error::Result;
use std::path::Path;

/// The rows of the table: with images of float32, and of bfloat16 as `--precision bf16` has them.
pub struct NativeArtifact {
    /// Whether images between the operators are bfloat16.
    pub half: bool,
}

impl Artifact for NativeArtifact {
    fn name(&self) -> &'static str {
        if self.half { "native-bf16" } else { "native" }
    }

    fn marker(&self) -> &'static str {
        if self.half { "native-bf16.onnx" } else { "native.onnx" }
    }

    fn file(&self) -> Option<&'static str> {
        Some(self.marker())
    }

    fn write(&self, models: &Models, dir: &Path) -> Result<Vec<String>> {
        let mut files = Files::new(dir, models.external);
        let mut step = with_native_operators(&models.step, self.half, dir)?;
        step.metadata_props.push(manifest_entry(&models.manifest)?);
        files.write(self.marker(), step)?;
        Ok(files.finish(&[self.marker()])?.into_iter().map(|f| f.0).collect())
    }
}
