//! What a loss reads, and what it computes of it.

mod models;
mod outputs;
#[path = "../shared/mod.rs"]
mod shared;
mod tails;
mod terms;
