//! Fine-tuning, evaluation and prediction with what [`crate::rewrite`] makes.

mod checkpoint;
mod classifier;
mod distance;
mod evaluate;
mod finetune;
mod folders;
mod head_first;
mod interpolate;
mod metrics;
mod options;
mod predict;
mod profile;
mod progress;
mod run;
mod setup;
mod tuned;

pub use checkpoint::{Checkpoint, read_state};
pub use classifier::{Classifier, ClassifierOptions};
pub use distance::{Distance, LayerDistance, Unmoved};
pub use evaluate::{ClassResult, Evaluation, evaluate, evaluate_folder};
pub use finetune::finetune;
pub use folders::read_class_names;
pub(crate) use folders::{fingerprint as folder_fingerprint, open as open_folder};
pub use interpolate::export_interpolated;
pub use metrics::{Record, StepRecord, ValidationRecord};
pub use options::{Existing, FinetuneOptions, Length, Schedule, Training, Validation};
pub use predict::{Guess, Prediction, predict};
pub use profile::{batch_size, profile};
pub use progress::{Outline, Progress, Silent};
pub use run::{Best, BundleReference, Results, Run, RunRecord, RunResult, Status};
pub use tuned::{RunState, Subject, export_tuned, transplanted};
