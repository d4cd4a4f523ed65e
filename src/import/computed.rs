//! What nodes compute from constants alone, kept as constants.

use crate::ir::{Graph, Tensor, ValueId};
use std::collections::HashMap;

/// Elements that are computed ahead in one model: shapes and indices are small, and what is not is no reason to fill the memory.
const BUDGET: usize = 1 << 22;

/// Elements from which a computed tensor of integers is a table, of which one copy is enough.
const SHARED_FROM: usize = 1 << 10;

/// The constants that were computed so far.
pub(super) struct Computed {
    /// How many elements may still be computed ahead.
    left: usize,
    /// Tables, by type, shape and content: networks compute the same one in each of their layers.
    tables: HashMap<blake3::Hash, ValueId>,
    /// Floating-point constants that were computed of one other, by name.
    pub of_one: HashMap<String, String>,
}

impl Default for Computed {
    fn default() -> Self {
        Computed { left: BUDGET, tables: HashMap::new(), of_one: HashMap::new() }
    }
}

impl Computed {
    /// Whether anything more may be computed ahead.
    pub fn goes_on(&self) -> bool {
        self.left > 0
    }

    /// Takes note of elements that were computed.
    pub fn spend(&mut self, elements: usize) {
        self.left = self.left.saturating_sub(elements);
    }
    /// The constant of that name which a node has computed, whose first input is `first`; of a table, the one that is there already.
    pub fn keep(&mut self, graph: &mut Graph, name: &str, tensor: Tensor, first: Option<ValueId>) -> ValueId {
        let float = tensor.dtype().is_float();
        let table = (!float && tensor.count() >= SHARED_FROM).then(|| content(&tensor));
        if let Some(&same) = table.and_then(|content| self.tables.get(&content)) {
            return same;
        }
        self.spend(tensor.count());
        let id = graph.constant(name, tensor);
        self.tables.extend(table.map(|content| (content, id)));
        if let Some(v) = first.filter(|&v| float && graph.ty(v).dtype.is_float()) {
            let name = graph.name_of(v);
            let origin = self.of_one.get(name).map_or(name, |origin| origin).to_string();
            self.of_one.insert(graph.name_of(id).to_string(), origin);
        }
        id
    }
}

/// By what a table is known.
fn content(tensor: &Tensor) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {:?} ", tensor.dtype(), tensor.shape()).as_bytes()).update(tensor.bytes());
    hasher.finalize()
}
