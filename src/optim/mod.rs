//! Optimizers: from a parameter, its gradient and the optimizer's own state to their next values, one file each.

mod sgd;

pub use sgd::Sgd;
