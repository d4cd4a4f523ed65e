//! Tables of a page.

use super::text::escape;
use crate::report::table::Align;

/// A table with a caption and headings, for eyes and for those who listen.
#[derive(Debug, Clone, PartialEq)]
pub struct HtmlTable {
    caption: String,
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// Whether the first cell of each row is its heading.
    row_heads: bool,
}

impl HtmlTable {
    /// A table without rows; `columns` are the headings and how the cells below them are placed. The first cell of each row is its heading.
    pub fn new<S: Into<String>>(caption: impl Into<String>, columns: impl IntoIterator<Item = (S, Align)>) -> HtmlTable {
        let columns = columns.into_iter().map(|(name, align)| (name.into(), align)).collect();
        HtmlTable { caption: caption.into(), columns, rows: vec![], row_heads: true }
    }

    /// Adds a row of texts.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        self.rows.push(cells.into_iter().map(|c| escape(&c.into())).collect());
        self
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As markup; wide tables can be moved sideways.
    pub fn markup(&self) -> String {
        let class = |i: usize| if self.columns.get(i).is_some_and(|c| c.1 == Align::Right) { " class=\"n\"" } else { "" };
        let mut out = format!("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>", escape(&self.caption));
        out.push_str(&format!("<caption>{}</caption>", escape(&self.caption)));
        if self.columns.iter().any(|c| !c.0.is_empty()) {
            out.push_str("<thead><tr>");
            for (i, (name, _)) in self.columns.iter().enumerate() {
                out.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(i), escape(name)));
            }
            out.push_str("</tr></thead>");
        }
        out.push_str("<tbody>");
        for row in &self.rows {
            out.push_str("<tr>");
            for (i, cell) in row.iter().enumerate() {
                match i == 0 && self.row_heads {
                    true => out.push_str(&format!("<th scope=\"row\"{}>{cell}</th>", class(i))),
                    false => out.push_str(&format!("<td{}>{cell}</td>", class(i))),
                }
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }
}
