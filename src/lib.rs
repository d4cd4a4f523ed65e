//! Fine-tune deployed ONNX networks: starting-point penalties, loss, gradients and optimizer in a training graph of
//! standard operators.
//!
//! Rewriting and fine-tuning in ten lines:
//!
//! ```no_run
//! use spgraph::prelude::*;
//!
//! fn main() -> spgraph::Result<()> {
//!     let rewriting = Rewrite::new().class_names(["wren", "robin"]).penalty(Penalty::L2Sp).batch(16);
//!     rewriting.write("resnet50.onnx", "birds.spgraph")?;
//!     let run = Finetune::bundle("birds.spgraph", "photos/train").epochs(10).output("birds").run()?;
//!     println!("moved {:.3} from the starting point", run.run.results.distance.total);
//!     println!("{}", Evaluate::of("birds").on("photos/test")?.headline());
//!     Export::of("birds").write("birds.onnx")?;
//!     Ok(())
//! }
//! ```
//!
//! [`prelude`] has what most programs need. `Finetune::model` does all of it in one run, as `spgraph finetune` does. Images may be in memory
//! ([`data::ImageSet::labelled`], `examples/in_memory.rs`); who wants a training loop of their own takes [`train::TrainingStep`]
//! (`examples/own_loop.rs`). Everything is an [`Error`] that says what is wrong, where, and what to do; the library never panics on what it is given.

#![deny(missing_docs)]
// Unsafe code is in the modules that allow it by name, and nowhere else (docs/reliability.md).
#![cfg_attr(not(test), deny(unsafe_code))]
// Nothing that is read may end the process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo, clippy::unimplemented)
)]

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
pub mod prelude;
pub mod report;
pub mod rewrite;
pub mod shell;
pub mod storage;
pub mod train;
pub mod zoo;

pub use error::{Error, Refusal, Result};
pub use field::Field;
