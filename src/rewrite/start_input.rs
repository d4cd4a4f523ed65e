//! The starting point as inputs of the graphs instead of constants.

use super::state::StateTensor;
use crate::bundle::manifest::Role;
use crate::bundle::start_name;
use crate::error::{Error, Result};
use crate::field::Field;
use crate::ir::{Graph, ValueId};

/// Fails where the network has a tensor that is called as a starting point is: the two could not be told apart.
pub(super) fn check(network: &Graph, state: &[StateTensor]) -> Result<()> {
    match state.iter().map(|s| start_name(&s.name)).find(|name| network.find(name).is_some()) {
        Some(name) => {
            let why =
                format!(" cannot be inputs: the network has a tensor `{name}` of its own. Rename it, or leave the starting point constant");
            Err(Error::option(Field::START, why))
        }
        None => Ok(()),
    }
}

/// Makes the constants with the starting points of these state tensors inputs; gives them by the tensor's name. Those that nothing reads are none.
pub(super) fn inputs(graph: &mut Graph, state: &[StateTensor]) -> Vec<(String, ValueId)> {
    let mut found = vec![];
    for s in state.iter().filter(|s| matches!(s.role, Role::Shared | Role::Buffer)) {
        let Some(value) = graph.find(&start_name(&s.name)).filter(|&v| graph.value(v).initializer().is_some()) else { continue };
        graph.constant_to_input(value);
        // What was known of values behind it is true of this start only.
        for behind in graph.dependents(value) {
            let behind = graph.value_mut(behind);
            (behind.constant, behind.elems) = (None, None);
        }
        found.push((s.name.clone(), value));
    }
    found
}
