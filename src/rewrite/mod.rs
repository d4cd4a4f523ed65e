//! The recipe: from a source model and options to a bundle of training graphs.

mod bundle;
mod channel_attention;
mod fisher;
mod freezing;
mod graphs;
mod head;
mod head_map;
mod head_step;
mod options;
mod patterns;
mod plan;
mod rates;
mod regularizers;
mod strengths;
mod structure;
mod update;

pub use bundle::{INLINE_LIMIT, Report, rewrite};
pub use head::{Head, classes, find_head, logits, transplant};
pub use head_step::head_step;
pub use options::{HeadOption, Options, Penalize, PenaltyStep};
pub use plan::{Plan, Planned, plan};
pub use regularizers::{RegularizerRequest, Tap, taps};
pub use strengths::OwnStrength;
pub use structure::{Block, blocks};
