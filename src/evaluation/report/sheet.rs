//! A table that can be written as Markdown, CSV and HTML.

use crate::error::{Error, Result};
use crate::report::Align;
use crate::report::html::HtmlTable;

/// A table with a name for its file, a heading, and words below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// For a file: `accuracy-resnet20-sign-digits`.
    pub name: String,
    /// The heading.
    pub title: String,
    /// What the numbers are.
    pub note: String,
    /// Headings of columns; the first is that of names.
    pub columns: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    /// Without rows.
    pub fn new(name: impl Into<String>, title: impl Into<String>, note: impl Into<String>, columns: Vec<String>) -> Sheet {
        Sheet { name: name.into(), title: title.into(), note: note.into(), columns, rows: vec![] }
    }

    /// As Markdown, under a heading of the second rank.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(|c| c.replace('|', "\\|")).collect::<Vec<_>>().join(" | "));
        let rule = format!("|---|{}\n", "---:|".repeat(self.columns.len().saturating_sub(1)));
        let rows: String = self.rows.iter().map(|r| line(r)).collect();
        format!("## {}\n\n{}{rule}{rows}\n{}\n", self.title, line(&self.columns), self.note)
    }

    /// As CSV with a line of headings.
    pub fn csv(&self) -> Result<String> {
        csv_text(&self.columns, &self.rows)
    }

    /// As HTML.
    pub fn html(&self) -> String {
        let align = |i: usize| if i == 0 { Align::Left } else { Align::Right };
        let columns = self.columns.iter().enumerate().map(|(i, name)| (name.clone(), align(i)));
        let mut table = HtmlTable::new(self.note.clone(), columns);
        for row in &self.rows {
            table.row(row.clone());
        }
        table.markup()
    }
}

/// Lines of CSV.
pub(super) fn csv_text(columns: &[String], rows: &[Vec<String>]) -> Result<String> {
    let failed = |e: csv::Error| Error::internal(format!("a table could not be written: {e}"));
    let mut out = csv::Writer::from_writer(vec![]);
    out.write_record(columns).map_err(failed)?;
    rows.iter().try_for_each(|r| out.write_record(r)).map_err(failed)?;
    let bytes = out.into_inner().map_err(|e| Error::internal(format!("a table could not be written: {e}")))?;
    String::from_utf8(bytes).map_err(|e| Error::internal(format!("a table is no text: {e}")))
}
