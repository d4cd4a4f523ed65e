//! Files with results, which are begun before the work and end whole or not at all.

use super::output;
use serde::Serialize;
use spgraph::error::{Error, Result};
use spgraph::storage::files::OutputFile;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where results in a format go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// `-`, or a file whose name ends as the format wants it: `--json photo.jpg` is a slip.
fn parse(text: &str, ending: &str) -> std::result::Result<Target, String> {
    let path = Path::new(text);
    match text {
        "-" => Ok(Target::Stdout),
        _ if path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending)) => Ok(Target::File(path.into())),
        _ => Err(format!("give a file whose name ends in .{ending}, or - for stdout")),
    }
}

pub fn json_target(text: &str) -> std::result::Result<Target, String> {
    parse(text, "json")
}

pub fn csv_target(text: &str) -> std::result::Result<Target, String> {
    parse(text, "csv")
}

impl Target {
    /// The file, where it is one.
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Target::Stdout => None,
            Target::File(path) => Some(path),
        }
    }
}

/// A place for results that can be written to.
pub enum Place {
    Stdout,
    File(Box<OutputFile>),
}

/// Checks and prepares the place.
pub fn open(target: Option<&Target>, force: bool) -> Result<Option<Place>> {
    Ok(match target {
        None => None,
        Some(Target::Stdout) => Some(Place::Stdout),
        Some(Target::File(path)) => Some(Place::File(Box::new(OutputFile::create(path, force)?))),
    })
}

/// Fails where two kinds of results would be mixed.
pub fn one_stdout(targets: &[Option<&Target>]) -> Result<bool> {
    let count = targets.iter().filter(|t| matches!(t, Some(Target::Stdout))).count();
    if count > 1 {
        return Err(Error::usage("two kinds of results cannot both go to stdout: give one of them a file"));
    }
    Ok(count == 1)
}

impl Place {
    pub fn write(self, data: &[u8]) -> anyhow::Result<()> {
        match self {
            Place::Stdout => output::print_bytes(data),
            Place::File(mut out) => {
                let path = out.path().to_path_buf();
                out.write_all(data).map_err(Error::io("cannot write", &path))?;
                out.commit()?;
                output::note(&format!("wrote {}", path.display()));
                Ok(())
            }
        }
    }

    pub fn write_json(self, value: &impl Serialize) -> anyhow::Result<()> {
        self.write(format!("{}\n", serde_json::to_string_pretty(value)?).as_bytes())
    }
}
