//! What answers are worth, in numbers: nothing here knows of networks or files.

mod calibration;
mod classes;
mod confusion;
mod headline;
mod ranking;
mod regression;

pub use calibration::{Calibration, ReliabilityBin, brier};
pub use classes::{Averages, ClassResult, Means};
pub use confusion::{Confused, Confusion};
pub use headline::Headline;
pub(super) use headline::defined;
pub use ranking::{average_precision, mean_average_precision};
pub use regression::Regression;
