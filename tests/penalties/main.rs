//! Every penalty in the form that is emitted, and the options around them: strengths, the Fisher file, freezing, heads.

mod bundles;
mod commands;
#[path = "../shared/mod.rs"]
mod shared;
mod terms;
