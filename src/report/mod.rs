//! Reports for people: aligned text tables, and what is inside a model.

mod explanation;
mod inspection;
mod table;

pub use explanation::explanation;
pub use inspection::{HeadInfo, InputInfo, Inspection, OperatorInfo, ParameterInfo, RefusedNode, inspect};
pub use table::{Align, Table};
