//! The files of a folder, each looked at.

use crate::error::Result;
use serde::Serialize;
use std::path::Path;

/// A file of a bundle or a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileState {
    /// Without its folder.
    pub name: String,
    /// Its size; none where it is missing.
    pub bytes: Option<u64>,
    /// What is wrong with it.
    pub problem: Option<String>,
}

impl FileState {
    /// Looks at a file by reading it with `read`.
    pub(super) fn of(path: &Path, read: impl FnOnce(&Path) -> Result<()>) -> FileState {
        let name = path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        match std::fs::metadata(path) {
            Ok(found) => FileState { name, bytes: Some(found.len()), problem: read(path).err().map(|e| e.to_string()) },
            Err(cause) => FileState { name, bytes: None, problem: Some(format!("it is not there: {cause}")) },
        }
    }
}

/// What is wrong with the files, each with its name.
pub(super) fn problems(files: &[FileState]) -> Vec<String> {
    let named = |f: &FileState| {
        let problem = f.problem.as_ref()?;
        Some(if problem.contains(&f.name) { problem.clone() } else { format!("{}: {problem}", f.name) })
    };
    files.iter().filter_map(named).collect()
}

/// The fields of `value` that are not as in `usual`, as they are stored.
pub(super) fn differences(value: &impl Serialize, usual: &impl Serialize) -> serde_json::Map<String, serde_json::Value> {
    let fields = |value: std::result::Result<serde_json::Value, _>| match value {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (mut own, usual) = (fields(serde_json::to_value(value)), fields(serde_json::to_value(usual)));
    own.retain(|name, value| usual.get(name) != Some(value));
    own
}
