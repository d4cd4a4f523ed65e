//! What is at a path, whether it can be used, and what for: a model, a bundle, or a run.

mod bundle;
mod files;
mod model;
mod precision;
mod run;
mod verdict;

pub use bundle::{BundleInspection, inspect_bundle};
pub use files::FileState;
pub use model::{HeadInfo, InputInfo, Inspection, OperatorInfo, ParameterInfo, inspect};
pub use precision::StepPrecision;
pub use run::{RunInspection, inspect_run};
pub use verdict::{StepMemory, Verdict};
