//! Where nodes stand in a file, and which reading those take that have several.

use std::collections::BTreeMap;

/// Where a node stands in the file, in the order in which nodes are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Its place among the graph's nodes, or that of the node in which it stands.
    pub node: usize,
    /// Its place within the branch that such a node takes, from 1 on; 0 for the node itself.
    pub inner: usize,
}

impl From<usize> for Place {
    fn from(node: usize) -> Place {
        Place { node, inner: 0 }
    }
}

/// Which reading nodes take that have several: 0 for the likeliest, which is taken where nothing is said.
pub(super) type Readings = BTreeMap<Place, usize>;
