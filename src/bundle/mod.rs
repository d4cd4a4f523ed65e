//! The bundle on disk: what `spgraph rewrite` writes and everything after it reads.

mod export;
mod format1;
pub mod manifest;
mod meaning;
mod metadata;
mod open;
mod options;
mod rewriting;

pub use export::{export, template, tuned};
pub use meaning::{Meaning, Measure, Setting};
pub use metadata::{CLASSES_KEY, Metadata, PREPROCESSING_KEY, default_preprocessing, read_metadata};
pub use open::{Bundle, start_name, start_state};
pub use options::{ByPattern, HeadOption, Options, Penalize, PenaltyOption, PenaltyStep};
pub use rewriting::{InputFile, Rewriting};
