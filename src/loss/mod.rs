//! Losses: from logits and target to the scalar that is minimised, and its gradient in closed form.

mod cross_entropy;

pub use cross_entropy::cross_entropy;

use crate::ir::ValueId;

/// What a loss adds to the graph.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// The mean over the batch, a scalar.
    pub value: ValueId,
    /// `∂value / ∂logits`, of the logits' shape.
    pub gradient: ValueId,
    /// How many targets have the largest logit: a scalar of the logits' type.
    pub correct: ValueId,
}
