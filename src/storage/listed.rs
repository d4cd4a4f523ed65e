//! The files of a folder whose manifest lists their hashes: whoever reads one checks it, in every command.

use crate::error::{Error, Result};
use crate::storage::{regular, seal};
use bytes::Bytes;
use std::path::Path;

/// The file with the list.
const MANIFEST: &str = "manifest.json";
/// No manifest is longer.
const MOST: u64 = 256 << 20;
/// The list's field.
const FILES: &str = "files";

/// Reads a regular file, and checks it where a manifest of spgraph's beside it knows its hash.
pub fn read(path: &Path, reading: &'static str) -> Result<Bytes> {
    let data = regular::read(path).map_err(Error::io(reading, path))?;
    check(path, &data)?;
    Ok(data)
}

/// Fails where a manifest of spgraph's beside the file `path` gives another hash for it than that of its content `data`.
pub fn check(path: &Path, data: &[u8]) -> Result<()> {
    match expected(path)? {
        Some(hash) if hash != seal::of(data) => Err(Error::model(format!(
            "{} is damaged: its content does not have the hash that the {MANIFEST} beside it gives, so it was changed since it was written. Run `spgraph \
             rewrite` again, or put the right file back",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// The hash of the file as the manifest beside it has it; `None` where there is no such list, or the file is not in it.
pub fn expected(path: &Path) -> Result<Option<String>> {
    let manifest = path.with_file_name(MANIFEST);
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return Ok(None) };
    let Ok(text) = regular::read_at_most(&manifest, MOST) else { return Ok(None) };
    // Other programs have manifests as well.
    let Some(text) = std::str::from_utf8(&text).ok().filter(|t| t.contains("\"spgraph\"")) else { return Ok(None) };
    let damaged = |why| Error::model(format!("{} is damaged: {why}. Run `spgraph rewrite` again", manifest.display()));
    let opened = seal::from_json(text).map_err(damaged)?;
    Ok(opened.value.get(FILES).and_then(|files| files.get(name)).and_then(|hash| hash.as_str()).map(String::from))
}
