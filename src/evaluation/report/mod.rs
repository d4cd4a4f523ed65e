//! The report of a study: tables and figures of all records in a folder of results, as Markdown, CSV, SVG, and one HTML page.

mod claims;
mod collection;
mod family;
mod figures;
mod sheet;
mod tables;

pub use sheet::Sheet;

use super::cell::Phase;
use super::results::CellResult;
use crate::error::{Error, Result};
use crate::report::html::Page;
use crate::storage::files::write_whole;
use collection::Collection;
use figures::Figure;
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFiles {
    /// The page.
    pub html: PathBuf,
    /// The same as Markdown.
    pub markdown: PathBuf,
    /// Every file, these two included.
    pub files: Vec<PathBuf>,
    /// Records of final cells, and of the selection.
    pub cells: [usize; 2],
}

/// Writes the report of these records to the folder `out`. Files of an earlier report are replaced; the report of a part of a study has those places
/// empty that are not run.
///
/// Fails where two records are of one cell, which then belong to different studies.
pub fn write_report(records: Vec<CellResult>, out: &Path) -> Result<ReportFiles> {
    let mut names: Vec<String> = records.iter().map(|r| r.cell.name()).collect();
    names.sort();
    if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(a, b)| a == b) {
        return Err(Error::usage(format!(
            "there are two records of {twice}, made by a study that was changed since. Name the study whose records are to be reported"
        )));
    }
    let all = Collection { cells: records };
    let counts = [Phase::Final, Phase::Selection].map(|phase| all.cells.iter().filter(|c| c.cell.phase == phase).count());
    std::fs::create_dir_all(out).map_err(Error::io("cannot create", out))?;
    let mut files = vec![];
    let mut write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = out.join(name);
        write_whole(&path, true, text.as_bytes())?;
        files.push(path.clone());
        Ok(path)
    };
    let lead = lead(&all, counts);
    let mut page = Page::new("Evaluation");
    page.lead(&Page::paragraph(&lead));
    let mut markdown = format!("# Evaluation\n\n{lead}\n\n");
    let mut tell = |sheets: &[Sheet], figures: &[Figure], heading: &str| -> Result<()> {
        let mut markup = String::new();
        for sheet in sheets {
            markdown.push_str(&sheet.markdown());
            markdown.push('\n');
            markup.push_str(&format!("<h3>{}</h3>\n{}", crate::report::html::escape(&sheet.title), sheet.html()));
            write(&format!("{}.csv", sheet.name), &sheet.csv()?)?;
        }
        for figure in figures {
            markdown.push_str(&format!("![{}]({}.svg)\n\n", figure.caption, figure.name));
            markup.push_str(&Page::figure(&figure.plot, &figure.caption));
            write(&format!("{}.svg", figure.name), &figure.plot.file())?;
        }
        page.section(heading, markup);
        Ok(())
    };
    tell(&family::family(&all), &[], "The family")?;
    for pair in all.pairs() {
        let name = format!("{} → {}", pair.0, pair.1);
        tell(&claims::claims(&all, &pair).into_iter().collect::<Vec<_>>(), &[], &format!("{name}: the paper's claims"))?;
        tell(&tables::main(&all, &pair), &figures::figures(&all, &pair)?, &format!("{name}: results"))?;
        let mut details = tables::tests(&all, &pair, "l2");
        details.extend(tables::tests(&all, &pair, "none"));
        details.extend(tables::variants(&all, &pair));
        details.extend(tables::chosen(&all, &pair));
        tell(&details, &[], &format!("{name}: tests, variants and settings"))?;
    }
    write("cells.csv", &cells_csv(&all.cells)?)?;
    let html = write("report.html", &page.render())?;
    let markdown = write("report.md", &markdown)?;
    Ok(ReportFiles { html, markdown, files, cells: counts })
}

fn lead(all: &Collection, [finals, selection]: [usize; 2]) -> String {
    let mut processors: Vec<&str> = all.cells.iter().map(|c| c.processor.as_str()).collect();
    processors.sort();
    processors.dedup();
    let mut engines: Vec<&str> = all.cells.iter().map(|c| c.engine.as_str()).collect();
    engines.sort();
    engines.dedup();
    let hours = all.cells.iter().map(|c| c.seconds.total).sum::<f64>() / 3600.0;
    let cost = claims::cost(all).map_or(String::new(), |(ratio, n)| {
        format!(" A step with L2-SP took {ratio:.2} of the time of one without a penalty (median of {n} pairs of cells, by the clock).")
    });
    format!(
        "{finals} final cells and {selection} of the selection, {hours:.1} hours of cells, by spgraph {} on {} ({}).{cost}",
        env!("CARGO_PKG_VERSION"),
        processors.join("; "),
        engines.join("; ")
    )
}

/// Every record in a line.
fn cells_csv(cells: &[CellResult]) -> Result<String> {
    let columns = [
        "phase",
        "source",
        "target",
        "images",
        "method",
        "variant",
        "seed",
        "rate",
        "beta",
        "strength",
        "accuracy",
        "loss",
        "source_before",
        "source_after",
        "drift",
        "drift_relative",
        "unmoved",
        "seconds_training",
        "seconds_total",
        "failed",
    ];
    let row = |c: &CellResult| {
        let opt = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
        vec![
            if c.cell.phase == Phase::Final { "final" } else { "selection" }.to_string(),
            c.cell.source.clone(),
            c.cell.target.clone(),
            c.cell.images.to_string(),
            c.cell.method.clone(),
            c.cell.variant.as_ref().map_or(String::new(), |v| v.name()),
            c.cell.seed.to_string(),
            c.settings.rate.to_string(),
            c.settings.beta.to_string(),
            opt(c.settings.strength),
            c.target.accuracy.to_string(),
            c.target.loss.to_string(),
            opt(c.source.as_ref().map(|s| s.before.accuracy)),
            opt(c.source.as_ref().map(|s| s.after.accuracy)),
            c.drift.total.to_string(),
            c.drift.relative.to_string(),
            c.drift.unmoved.to_string(),
            c.seconds.training.to_string(),
            c.seconds.total.to_string(),
            c.failed.clone().unwrap_or_default(),
        ]
    };
    sheet::csv_text(&columns.map(String::from), &cells.iter().map(row).collect::<Vec<_>>())
}
