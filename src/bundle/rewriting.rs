//! The manifest's record of how a bundle was made: enough to make it again, bit for bit.

use super::options::Options;
use crate::error::{Error, Result};
use crate::storage::sha256;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The options of a rewriting and what it read besides the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rewriting {
    /// As they were given.
    pub options: Options,
    /// The files that the options name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<InputFile>,
}

/// A file that a rewriting read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    /// As the options have it.
    #[serde(with = "crate::storage::path_text")]
    pub path: PathBuf,
    /// Of the file, in hexadecimal.
    pub sha256: String,
}

impl Rewriting {
    /// Records the options, with the hashes of the files that they name.
    pub fn of(options: &Options) -> Result<Rewriting> {
        let file = |path: &Path| Ok(InputFile { path: path.to_path_buf(), sha256: sha256::of_file(path)? });
        Ok(Rewriting { options: options.clone(), files: options.files().map(file).collect::<Result<_>>()? })
    }

    /// Fails where the model, which had the hash `sha256`, or a file that the options name is another one than it was.
    pub fn check(&self, model: &Path, sha256: &str) -> Result<()> {
        let source = InputFile { path: model.to_path_buf(), sha256: sha256.into() };
        for InputFile { path, sha256 } in std::iter::once(&source).chain(&self.files) {
            let found = sha256::of_file(path)?;
            if found != *sha256 {
                let short = |hash: &str| hash.get(..12).unwrap_or(hash).to_string();
                return Err(Error::model(format!(
                    "{} is not the file that the bundle was made from: its SHA-256 is {}…, and the manifest has {}…",
                    path.display(),
                    short(&found),
                    short(sha256)
                )));
            }
        }
        Ok(())
    }
}
