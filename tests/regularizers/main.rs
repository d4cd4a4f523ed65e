//! DELTA, BSS and LwF: the terms in the form that is emitted against PyTorch's, and what rewriting makes of the options.

mod bundles;
#[path = "../shared/mod.rs"]
mod shared;
mod terms;
