//! The commands of an evaluation: `plan`, `cell`, `sweep`, `report`.

pub mod cell;
pub mod plan;
pub mod report;
pub mod sweep;

use spgraph::error::Error;
use spgraph::evaluation::Study;
use spgraph::shell::word;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What they have in common.
#[derive(clap::Args)]
pub struct StudyArgs {
    /// The study, a TOML file
    study: PathBuf,
    /// Folder for the results
    #[arg(short, long, value_name = "FOLDER", default_value = "results")]
    out: PathBuf,
    /// What the study's paths are relative to [default: the folder of the study]
    #[arg(long, value_name = "FOLDER")]
    base: Option<PathBuf>,
}

impl StudyArgs {
    fn read(&self) -> anyhow::Result<Study> {
        Ok(Study::read(&self.study)?)
    }

    fn base(&self) -> PathBuf {
        let own = || self.study.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        self.base.clone().unwrap_or_else(own)
    }

    /// The arguments of `spgraph` for one cell.
    fn cell(&self, name: &str) -> Vec<Argument> {
        use Argument::{Name, Option};
        let mut arguments = vec![Name("cell".into()), Name(self.study.clone().into()), Name(name.into())];
        arguments.extend([Option("--out"), Name(self.out.clone().into())]);
        if let Some(base) = &self.base {
            arguments.extend([Option("--base"), Name(base.clone().into())]);
        }
        arguments
    }
}

/// An argument of a command.
enum Argument {
    /// An option's name.
    Option(&'static str),
    /// A word that somebody chose, which may begin as an option does.
    Name(OsString),
}

impl Argument {
    /// As a program takes it.
    fn given(&self) -> OsString {
        match self {
            Argument::Option(name) => name.into(),
            Argument::Name(name) if name.as_encoded_bytes().starts_with(b"-") => Path::new(".").join(name).into(),
            Argument::Name(name) => name.clone(),
        }
    }

    /// Fails for a word that make's shell, which may be an old one, has no way to write.
    fn check_for_make(&self) -> Result<(), Error> {
        match self {
            Argument::Name(name) if word(name).is_for_newer_shells() => Err(Error::usage(format!(
                "make's shell has no way to write the name {}; rename it, without a line's end at its end",
                word(name)
            ))),
            _ => Ok(()),
        }
    }

    /// As a shell takes it.
    fn shown(&self) -> String {
        match self {
            Argument::Option(name) => name.to_string(),
            Argument::Name(name) => word(name).to_string(),
        }
    }
}
