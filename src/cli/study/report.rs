//! `spgraph report RESULTS`: tables and figures of a study's results. It need not be complete: what is not run has no number.

use super::super::output;
use spgraph::error::Error;
use spgraph::evaluation::{CellPlan, Study, read_all, record_source, write_collected, write_report};
use spgraph::storage::beside::beside;
use spgraph::storage::inputs::Inputs;
use std::path::PathBuf;

/// What is asked of it.
pub struct Args {
    /// Folders of results, or files of `--collect`: at least one.
    pub results: Vec<PathBuf>,
    /// Only records of this study.
    pub study: Option<PathBuf>,
    /// Folder for the report.
    pub out: Option<PathBuf>,
    /// All records in one file.
    pub collect: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let study = args.study.as_deref().map(Study::read).transpose()?;
    let read = |results: &PathBuf| match &study {
        Some(study) => CellPlan::of(study)?.records(results),
        None => read_all(results),
    };
    let records = args.results.iter().map(read).collect::<Result<Vec<_>, Error>>()?.concat();
    let out = match (args.out, &args.results[..]) {
        (Some(out), _) => out,
        (None, [only]) if only.is_file() => beside(&only.with_extension(""), "", ".report"),
        (None, [only]) => only.join("report"),
        _ => return Err(Error::usage("a report of several results belongs to none of their folders: name one with --out").into()),
    };
    if let Some(path) = &args.collect {
        let read = args.results.iter().map(|results| record_source(results));
        Inputs::new(read.chain(args.study.clone())).check_file(path)?;
        write_collected(path, &records)?;
        output::note(&format!("records in {}", path.display()));
    }
    let made = write_report(records, &out)?;
    let [finals, selection] = made.cells;
    output::print(&format!(
        "{finals} final cells, {selection} of the selection\nwrote {}\n      {}\n      and {} tables and figures in {}\n",
        made.html.display(),
        made.markdown.display(),
        made.files.len().saturating_sub(2),
        out.display()
    ))
}
