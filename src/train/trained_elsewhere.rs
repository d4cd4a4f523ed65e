//! A bundle that another runtime trained: its weights come as a plain safetensors file, by their names in the manifest.

use super::checkpoint::not_finite;
use crate::bundle::manifest::Role;
use crate::bundle::{Bundle, start_state};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::storage::{sha256, tensor_file};
use std::path::{Path, PathBuf};

/// A bundle, and the file with the weights that its step gave in another runtime.
#[derive(Debug, Clone)]
pub struct TrainedElsewhere {
    /// What was trained.
    pub bundle: Bundle,
    /// Safetensors: every tensor of the state but the optimizer's, which may be there too.
    pub weights: PathBuf,
}

impl TrainedElsewhere {
    /// The bundle with the weights of the file, which is looked at here: an error says what does not fit.
    pub fn of(bundle: Bundle, weights: &Path) -> Result<Self> {
        let trained = TrainedElsewhere { bundle, weights: weights.to_path_buf() };
        trained.read()?;
        Ok(trained)
    }

    /// The state in the manifest's order; the optimizer's is that of the start.
    pub fn state(&self) -> Result<Vec<Tensor>> {
        let mut state = start_state(&self.bundle)?;
        let mut tensors = self.read()?;
        for (s, value) in self.bundle.manifest.state.iter().zip(&mut state) {
            if let Some(tensor) = tensors.remove(&s.name).filter(|_| s.role != Role::Optimizer) {
                *value = tensor;
            }
        }
        Ok(state)
    }

    /// The tensors by name, once they are known to be this bundle's.
    fn read(&self) -> Result<std::collections::HashMap<String, Tensor>> {
        let (file, bundle) = (self.weights.display(), self.bundle.dir.display());
        let manifest = &self.bundle.manifest;
        let refused = |why: String| {
            Error::model(format!(
                "{file} does not hold the weights of {bundle}: {why}. Give the file that was written while this bundle was trained; it has each tensor \
                 of the manifest's `state` under its name"
            ))
        };
        let (metadata, tensors) = tensor_file::read_plain(&self.weights, refused)?;
        if let Some(trained) = metadata.get("bundle")
            && *trained != sha256::of_file(&self.bundle.dir.join("manifest.json"))?
        {
            return Err(refused("its metadata name another bundle".into()));
        }
        if let Some(name) = tensors.keys().filter(|n| !manifest.state.iter().any(|s| s.name == **n)).min() {
            return Err(refused(format!("it has `{name}`, which the bundle has not")));
        }
        for s in manifest.kept_state() {
            let tensor = tensors.get(&s.name).ok_or_else(|| refused(format!("it lacks `{}`", s.name)))?;
            if tensor.shape() != s.shape || tensor.dtype() != s.dtype {
                let (found, due) = (format!("{} {:?}", tensor.dtype(), tensor.shape()), format!("{} {:?}", s.dtype, s.shape));
                return Err(refused(format!("`{}` is {found} and has to be {due}", s.name)));
            }
            if not_finite([s], std::slice::from_ref(tensor))?.is_some() {
                return Err(refused(format!("`{}` has values that are no numbers", s.name)));
            }
        }
        Ok(tensors)
    }
}
