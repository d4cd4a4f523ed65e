//! The commands of an evaluation: `plan`, `cell`, `sweep`, `report`.

pub mod cell;
pub mod plan;
pub mod report;
pub mod sweep;

use spgraph::evaluation::Study;
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
    fn cell(&self, name: &str) -> Vec<std::ffi::OsString> {
        let mut words: Vec<std::ffi::OsString> =
            vec!["cell".into(), self.study.clone().into(), name.into(), "--out".into(), self.out.clone().into()];
        if let Some(base) = &self.base {
            words.extend(["--base".into(), base.clone().into()]);
        }
        words
    }
}
