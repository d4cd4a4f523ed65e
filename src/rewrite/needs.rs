//! What a value is made of.

use crate::ir::{Graph, ValueId};
use std::collections::HashSet;

/// The values that a value follows from by floating-point numbers, itself included: no gradient comes through what decides.
pub(super) fn needs(graph: &Graph, output: ValueId) -> HashSet<ValueId> {
    let (mut found, mut open) = (HashSet::new(), vec![output]);
    while let Some(value) = open.pop() {
        if graph.ty(value).dtype.is_float() && found.insert(value) {
            open.extend(graph.producer(value).into_iter().flat_map(|node| node.used()));
        }
    }
    found
}
