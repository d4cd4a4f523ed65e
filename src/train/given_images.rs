//! Images that need not be looked for.

use crate::data::ImageSet;

/// Images of a run that are in memory, or listed already.
#[derive(Debug, Clone, Default)]
pub struct GivenImages {
    /// To learn from.
    pub training: Option<ImageSet>,
    /// To choose by.
    pub validation: Option<ImageSet>,
    /// To judge the finished network by, and nothing else.
    pub test: Option<ImageSet>,
}
