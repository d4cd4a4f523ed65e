//! The diagonal of the Fisher information matrix of a source network, for the penalties `l2-sp-fisher` and `gl-sp-fisher`.
//!
//! `F̂_jj = (1/m)·Σ_i Σ_k f_k(x_i)·(∂/∂w_j log f_k(x_i))²` over m source images and all K classes (Li, Grandvalet, Davoine,
//! ICML 2018). The square is taken of each single (image, class) gradient, never of a batch's mean. See docs/fisher.md.

// Files decide numbers here: nothing is indexed or computed unchecked.
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::string_slice, clippy::arithmetic_side_effects))]

mod checkpoint;
mod estimate;
mod graph;
mod layout;
mod mode;
mod options;
mod run;
mod subject;
mod summary;

pub use crate::storage::fisher_file::{FORMAT, FisherFile, Info, SourceInfo, read, write};
pub use estimate::{Estimate, EstimatePlan, Estimator, Outline, Progress, Silent};
pub use graph::{FisherGraph, Measured, build};
pub use layout::BatchLayout;
pub use mode::Mode;
pub use options::FisherOptions;
pub use run::{FisherResult, fisher};
pub use subject::{FisherSubject, look, network};
pub use summary::{LayerShare, Summary};
