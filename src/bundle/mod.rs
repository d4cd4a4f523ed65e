//! The bundle on disk: what `spgraph rewrite` writes and everything after it reads.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod class_names;
mod class_tables;
mod deploy;
mod dropout;
mod entry;
mod export;
mod format1;
mod image_metadata;
mod literal;
pub mod manifest;
mod meaning;
mod metadata;
mod open;
mod options;
mod prediction;
mod preprocessing;
mod rewriting;

pub(crate) use class_names::names_in;
pub use class_names::{CLASSES_KEY, ClassNames, class_names, read_class_names};
pub use deploy::{Deployment, PROVENANCE_KEY, Provenance, deploy, prepares_images, sign};
pub use dropout::DropoutMode;
pub use export::{template, tuned};
pub use image_metadata::{ImageMetadata, PREPROCESSING_KEY};
pub use meaning::{Meaning, Measure, Setting, StateMeaning};
pub use metadata::{Metadata, PREDICTION_KEY, adopt_class_names, read_metadata};
pub use open::{Bundle, start_feeds, start_name, start_state};
pub use options::{ByPattern, GraphPrecision, HeadOption, Options, Penalize, PenaltyOption, PenaltyStep, StartForm};
pub use prediction::PredictionPort;
pub use preprocessing::{ChannelOrder, Images, Layout, MAX_SIDE, Prepared, Preprocessing};
pub use rewriting::{InputFile, Rewriting};
