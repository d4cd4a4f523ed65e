//! The pieces of which pages are made: text that is escaped, tables, plots as SVG, and the page around them. A page is one file that needs nothing
//! else: no network, no scripts, no fonts. It follows the reader's choice of light or dark, and can be printed.

mod bars;
mod colours;
mod lines;
mod matrix;
mod page;
mod svg;
mod table;
mod text;

pub use bars::{Bar, BarChart};
pub use lines::{LineChart, Point, Series};
pub use matrix::Matrix;
pub use page::Page;
pub use svg::Svg;
pub use table::HtmlTable;
pub use text::{data_uri, escape, number};
