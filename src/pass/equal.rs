//! Nodes of a graph by what they compute.

use crate::ir::{Domain, Graph, Node, ValueId};
use std::collections::HashMap;

/// Domain, operator and inputs of a node.
type Key = (Domain, String, Vec<Option<ValueId>>);

fn key(node: &Node) -> Key {
    (node.domain, node.op_type.clone(), node.inputs.clone())
}

/// Finds nodes that compute the same. Those with bodies are left out: two bodies may say the same in different words.
#[derive(Default)]
pub(super) struct EqualNodes {
    nodes: HashMap<Key, Vec<usize>>,
}

impl EqualNodes {
    /// All nodes of a graph.
    pub fn of(graph: &Graph) -> EqualNodes {
        let mut all = EqualNodes::default();
        graph.nodes.iter().enumerate().for_each(|(index, node)| all.add(index, node));
        all
    }

    /// Adds the last node of the graph.
    pub fn add_last(&mut self, graph: &Graph) {
        if let Some((index, node)) = graph.nodes.iter().enumerate().next_back() {
            self.add(index, node);
        }
    }

    fn add(&mut self, index: usize, node: &Node) {
        if node.body.is_none() {
            self.nodes.entry(key(node)).or_default().push(index);
        }
    }

    /// The outputs of a node that computes what `node` does, which reads values of the graph and has `outputs` outputs.
    pub fn find(&self, graph: &Graph, node: &Node, outputs: usize) -> Option<Vec<ValueId>> {
        let candidates = self.nodes.get(&key(node))?;
        let same = |n: &&Node| node.body.is_none() && n.attrs == node.attrs && n.outputs.len() == outputs;
        candidates.iter().filter_map(|&i| graph.nodes.get(i)).find(same).map(|n| n.outputs.clone())
    }
}
