//! The states that a run has.

/// One of a run's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunState {
    /// The best by validation of a run that had validation images, else that after the last step.
    #[default]
    Usual,
    /// After the last step.
    Final,
    /// The best by validation.
    Best,
    /// The last checkpoint.
    Checkpoint,
    /// The moving average of the weights after the last step.
    Ema,
    /// The starting point.
    Start,
}
