//! The recipe: from a source model and options to a bundle of training graphs.

mod bundle;
mod export;
mod graphs;
mod head;
mod head_step;
mod metadata;
mod options;
mod plan;
mod rates;
mod update;

pub use bundle::{Bundle, Report, rewrite, start_state};
pub use export::{export, tuned};
pub use head::{Head, find_head, transplant};
pub use head_step::head_step;
pub use metadata::{CLASSES_KEY, Metadata, PREPROCESSING_KEY, default_preprocessing, read_metadata};
pub use options::{HeadOption, Options, Penalize};
pub use plan::{Plan, Planned, plan};
