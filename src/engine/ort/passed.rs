//! Outputs of a step that are inputs of it, without a node between. ONNX Runtime computes nothing for these and leaves a buffer that is bound to such an
//! output untouched.

use super::super::signature::{Signature, StateMap};

/// Where the value of such an output is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// The current state of this port.
    State(usize),
    /// The feed of this number.
    Feed(usize),
}

/// The input that the output of that number is.
pub(super) fn source(signature: &Signature, map: &StateMap, output: usize) -> Option<Source> {
    let name = &signature.outputs.get(output)?.name;
    let input = signature.inputs.iter().position(|p| p.name == *name)?;
    let state = map.inputs.iter().position(|&i| i == input).map(Source::State);
    state.or_else(|| map.fed.iter().position(|&i| i == input).map(Source::Feed))
}
