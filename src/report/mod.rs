//! Reports for people: aligned text tables, what is inside a model, and where a training step spends its time.

mod explanation;
mod inspection;
mod profile;
mod table;

pub use explanation::explanation;
pub use inspection::{HeadInfo, InputInfo, Inspection, OperatorInfo, ParameterInfo, RefusedNode, inspect};
pub use profile::{LayerTime, OperatorTime, Profile};
pub use table::{Align, Table};
