//! Fine-tune deployed ONNX networks: starting-point penalties, loss, gradients and optimizer in a training graph of
//! standard operators.

#![deny(missing_docs)]

pub mod artifact;
pub mod bundle;
pub mod channel_attention;
pub mod data;
pub mod emit;
pub mod engine;
pub mod error;
pub mod evaluation;
pub mod field;
pub mod fisher;
pub mod functions;
pub mod grad;
pub mod import;
pub mod ir;
mod kinds;
pub mod loss;
pub mod nearest;
pub mod onnx;
pub mod operator;
pub mod ops;
pub mod optim;
pub mod pass;
pub mod penalty;
pub mod report;
pub mod rewrite;
pub mod storage;
pub mod train;
pub mod zoo;

pub use error::{Error, Refusal, Result};
pub use field::Field;
