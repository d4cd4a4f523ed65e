//! What most programs need, as builders: [`Rewrite`] a model, [`Finetune`] it, [`Evaluate`], [`Predict`], [`Export`].
//!
//! ```no_run
//! use spgraph::prelude::*;
//!
//! # fn main() -> spgraph::Result<()> {
//! let run = Finetune::model("resnet50.onnx", "photos").penalty(Penalty::L2Sp).epochs(20).output("runs/birds").run()?;
//! println!("{} steps, {:.3} from the starting point", run.run.results.steps, run.run.results.distance.total);
//! let found = Evaluate::of("runs/birds").top(3).on("photos/test")?;
//! println!("{}", found.headline());
//! Export::of("runs/birds").preprocess().softmax().write("birds.onnx")?;
//! # Ok(())
//! # }
//! ```
//!
//! A builder does nothing until its last method is called, and what is wrong is an error of that. Everything that the command line can do, the options behind
//! the builders can: [`Rewrite::with`], [`Finetune::with`] and the like reach them.

mod answers;
mod choices;
mod exporting;
mod finetuning;
mod rewriting;
mod source;

pub use answers::{Evaluate, Predict};
pub use choices::{Loss, Penalty};
pub use exporting::Export;
pub use finetuning::Finetune;
pub use rewriting::Rewrite;
pub use source::Source;

pub use crate::bundle::manifest::BatchNormMode;
pub use crate::bundle::{Bundle, ChannelOrder, DropoutMode, Images, Setting, start_state};
pub use crate::data::augment::{Color, FlipCrop, HorizontalFlip, ResizedCrop, TrivialAugment};
pub use crate::data::{ArrayDataset, Augment, BadImages, Dataset, ImageDataset, ImageSet, Last, Loader, LoaderOptions, Targets};
pub use crate::engine::{self, EngineOptions};
pub use crate::error::{Error, Result};
pub use crate::ir::{DType, Tensor};
pub use crate::optim::{AdamW, Lars, Optimizer, Sgd};
pub use crate::train::job::JobResult;
pub use crate::train::{
    Evaluation, Headline, Milestone, Prediction, Progress, RunState, Scalars, Schedule, Silent, StepRecord, StepResult, Subject,
    TrainingStep, ValidationRecord,
};
