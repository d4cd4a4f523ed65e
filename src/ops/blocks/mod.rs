//! Building blocks: what the rules of several operators are made of.

pub(super) mod broadcasting;
pub(super) mod cubic;
pub(super) mod entries;
mod formula;
pub(super) mod image_index;
pub(super) mod indexed;
mod per_sample;
pub(super) mod phases;
pub(crate) mod pointwise;
pub(super) mod step;
pub(super) mod strided;
mod whole_sum;

pub use formula::{Expr, Operand, formula};
pub use per_sample::{Squares, repeat};
pub use pointwise::Pointwise;
