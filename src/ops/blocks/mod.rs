//! Building blocks: what the rules of several operators are made of.

pub(super) mod broadcasting;
mod per_sample;
pub(super) mod phases;
pub(super) mod step;
pub(super) mod strided;

pub use per_sample::{Squares, repeat};
