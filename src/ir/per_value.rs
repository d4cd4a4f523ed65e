//! Something for each value of a graph.

use super::{Graph, ValueId};
use std::ops::{Index, IndexMut};

/// Something for each value of a graph, as it was when this was made.
///
/// Ids come from a graph alone and stay valid in it, since values are never removed: only one of another graph could lie outside, which no file can bring about.
#[derive(Debug, Clone)]
pub struct PerValue<T>(Vec<T>);

impl<T: Clone> PerValue<T> {
    /// The same for all values.
    pub fn new(graph: &Graph, start: T) -> Self {
        PerValue(vec![start; graph.values.len()])
    }
}

#[allow(clippy::indexing_slicing)]
impl<T> Index<ValueId> for PerValue<T> {
    type Output = T;

    fn index(&self, id: ValueId) -> &T {
        &self.0[id.index()]
    }
}

#[allow(clippy::indexing_slicing)]
impl<T> IndexMut<ValueId> for PerValue<T> {
    fn index_mut(&mut self, id: ValueId) -> &mut T {
        &mut self.0[id.index()]
    }
}
