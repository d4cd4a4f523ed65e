//! What a network gives out of its logits.

use serde::{Deserialize, Serialize};

/// What a network does to its logits before it gives them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing: the output is the logits.
    #[default]
    None,
    /// Probabilities of classes of which one is right.
    Softmax,
    /// Their logarithms.
    LogSoftmax,
    /// Of each class a probability of its own.
    Sigmoid,
}

impl Activation {
    /// For people, after "the network ends with".
    pub fn name(self) -> &'static str {
        match self {
            Activation::None => "logits",
            Activation::Softmax => "a softmax",
            Activation::LogSoftmax => "a log-softmax",
            Activation::Sigmoid => "a sigmoid",
        }
    }
}
