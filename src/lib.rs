//! Fine-tune deployed ONNX networks: starting-point penalties, loss, gradients and optimizer in a training graph of
//! standard operators.

pub mod attention;
pub mod attention_file;
pub mod cli;
pub mod data;
pub mod emit;
pub mod engine;
pub mod error;
pub mod fisher;
pub mod fisher_file;
pub mod forms;
pub mod fs;
pub mod grad;
pub mod import;
pub mod ir;
pub mod loss;
pub mod manifest;
pub mod onnx;
pub mod ops;
pub mod optim;
pub mod penalty;
pub mod report;
pub mod rewrite;
mod tensor_file;
pub mod train;
mod unfinished;
pub mod zoo;

pub use error::{Error, Refusal, Result};
