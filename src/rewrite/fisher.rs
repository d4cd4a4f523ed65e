//! The Fisher information that a penalty reads: the file must be of this very model.

use super::patterns::few;
use super::plan::Planned;
use crate::bundle::manifest::Role;
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::storage::fisher_file;
use std::collections::HashMap;
use std::path::Path;

/// The tensors of the parameters that the penalty acts on, by name. Fails, with the reason, where the file is of another model, lacks
/// a parameter, or has entries that are negative or no numbers.
pub fn read(path: &Path, sha256: &str, parameters: &[Planned]) -> Result<HashMap<String, Tensor>> {
    let shown = path.display();
    let bad = |why: String| {
        Error::model(format!("the Fisher file {shown} cannot be used: {why}. Estimate it from this very model with `spgraph fisher`"))
    };
    let mut file = fisher_file::read(path)?;
    let found = &file.info.source.sha256;
    if found != sha256 {
        let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
        return Err(bad(format!("it is of another model (SHA-256 {}…, the source model has {}…)", short(found), short(sha256))));
    }
    let mut strangers: Vec<&str> =
        file.tensors.keys().map(String::as_str).filter(|n| !parameters.iter().any(|p| p.parameter.name == *n)).collect();
    strangers.sort_unstable();
    if !strangers.is_empty() {
        return Err(bad(format!("the model has no parameter {}", few(strangers.into_iter()))));
    }
    let needed = || parameters.iter().filter(|p| p.strength.is_some() && p.role == Role::Shared);
    let missing: Vec<&str> = needed().map(|p| p.parameter.name.as_str()).filter(|n| !file.tensors.contains_key(*n)).collect();
    if !missing.is_empty() {
        return Err(bad(format!("it lacks {}, on which the penalty acts", few(missing.into_iter()))));
    }
    let mut tensors = HashMap::new();
    for p in needed() {
        let name = &p.parameter.name;
        let Some(tensor) = file.tensors.remove(name) else { continue };
        if tensor.shape() != p.shape {
            return Err(bad(format!("`{name}` has the shape {:?} in it, and {:?} in the model", tensor.shape(), p.shape)));
        }
        tensors.insert(name.clone(), tensor);
    }
    if !tensors.is_empty() && tensors.values().all(fisher_file::is_zero) {
        return Err(bad("all that it has on the parameters of the penalty is 0, so none would be held where it is".into()));
    }
    Ok(tensors)
}
