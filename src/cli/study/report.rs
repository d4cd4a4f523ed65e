//! `spgraph report RESULTS`: tables and figures of a study's results. It need not be complete: what is not run has no number.

use super::super::output;
use spgraph::evaluation::{Plan, Study, read_all, write_collected, write_report};
use std::path::PathBuf;

/// What is asked of it.
pub struct Args {
    /// The folder of results, or a file of `--collect`.
    pub results: PathBuf,
    /// Only records of this study.
    pub study: Option<PathBuf>,
    /// Folder for the report.
    pub out: Option<PathBuf>,
    /// All records in one file.
    pub collect: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let records = match &args.study {
        Some(study) => Plan::of(&Study::read(study)?)?.records(&args.results)?,
        None => read_all(&args.results)?,
    };
    let beside = || if args.results.is_file() { args.results.with_extension("report") } else { args.results.join("report") };
    let out = args.out.clone().unwrap_or_else(beside);
    if let Some(path) = &args.collect {
        write_collected(path, &records)?;
        output::note(&format!("records in {}", path.display()));
    }
    let made = write_report(records, &out)?;
    let [finals, selection] = made.cells;
    output::print(&format!(
        "{finals} final cells, {selection} of the selection\nwrote {}\n      {}\n      and {} tables and figures in {}\n",
        made.html.display(),
        made.markdown.display(),
        made.files.len() - 2,
        out.display()
    ))
}
