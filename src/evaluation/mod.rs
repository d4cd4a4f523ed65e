//! Evaluation of fine-tuning methods after the paper's protocol: a *study* (a TOML file) has *cells*, each a training with its measurements;
//! strengths and rates are chosen on validation images, final cells are measured on test images. See docs/evaluation.md.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod cell;
mod images;
mod makefile;
mod method;
mod plan;
mod report;
mod results;
mod run;
mod selection;
mod similarity;
mod statistics;
mod study;
mod sweep;
mod workspace;

pub use cell::{Cell, Phase, Request, Settings};
pub use makefile::makefile;
pub use method::{Knob, Method, find as find_method, names as method_names};
pub use plan::CellPlan;
pub use report::{ReportFiles, Sheet, write_report};
pub use results::{
    CellResult, Drift, LayerDrift, LayerSimilarity, Score, SourceLeft, Times, folder as record_folder, path as result_path, read, read_all,
    source as record_source, write_collected,
};
pub use run::{Done, run_cell};
pub use selection::choose;
pub use statistics::{Comparison as PairedComparison, Summary, compare, summary};
pub use study::{Comparison, FisherPlan, Images, Pair, Selection, Source, Study, Target, TrainingPlan, Variant};
pub use sweep::{Outcome, Watch, sweep};
pub use workspace::Workspace;
