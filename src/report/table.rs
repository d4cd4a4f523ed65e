//! Aligned text tables.

use super::printable::on_one_line;
use std::fmt;

/// How a column's cells are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// At the left edge, for text.
    Left,
    /// At the right edge, for numbers.
    Right,
}

/// A table whose columns are as wide as they need to be.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows; `columns` are the headings and how the cells below them are placed.
    pub fn new<S: Into<String>>(columns: impl IntoIterator<Item = (S, Align)>) -> Table {
        Table { columns: columns.into_iter().map(|(name, align)| (name.into(), align)).collect(), rows: vec![] }
    }

    /// Adds a row; cells that are missing are empty. A name cannot break its line.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        self.rows.push(cells.into_iter().map(|cell| on_one_line(&cell.into()).into_owned()).collect());
        self
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<String> = self.columns.iter().map(|c| c.0.clone()).collect();
        let lines = || std::iter::once(&head).chain(&self.rows);
        let width = |i: usize| lines().filter_map(|r| r.get(i)).map(|c| columns(c)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in lines() {
            let mut text = String::new();
            for (i, ((_, align), width)) in self.columns.iter().zip(&widths).enumerate() {
                let cell = line.get(i).map(String::as_str).unwrap_or_default();
                let gap = " ".repeat(width.saturating_sub(columns(cell)));
                let space = if i > 0 { "  " } else { "" };
                match align {
                    Align::Left => text.push_str(&format!("{space}{cell}{gap}")),
                    Align::Right => text.push_str(&format!("{space}{gap}{cell}")),
                }
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// How many columns of a terminal the text takes: signs of some scripts take two, accents none.
fn columns(text: &str) -> usize {
    console::measure_text_width(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut t = Table::new([("class", Align::Left), ("images", Align::Right)]);
        t.row(["disk", "5"]).row(["größer", "1234567"]);
        assert_eq!(t.to_string(), "class    images\ndisk          5\ngrößer  1234567\n");
        let mut t = Table::new([("class", Align::Left), ("n", Align::Right)]);
        t.row(["猫", "1"]).row(["e\u{301}\nx", "22"]).row(["dogs", "3"]);
        assert_eq!(t.to_string(), "class   n\n猫      1\ne\u{301}\\nx   22\ndogs    3\n");
    }
}
