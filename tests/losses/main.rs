//! What a loss reads, what it computes of it, and that what is exported gives the same.

mod class_weights;
mod exports;
mod models;
mod outputs;
#[path = "../shared/mod.rs"]
mod shared;
mod soft;
mod tails;
mod terms;
