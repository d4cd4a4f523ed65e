//! Who needs what in a graph.

use super::{Graph, Node, PerValue, Tensor, ValueId};

impl Graph {
    /// Who reads each value.
    pub fn readers(&self) -> Readers {
        let mut readers = Readers { nodes: PerValue::new(self, vec![]), outputs: PerValue::new(self, 0) };
        for (i, node) in self.nodes.iter().enumerate() {
            node.used().for_each(|v| readers.nodes[v].push(i));
        }
        self.outputs.iter().for_each(|&v| readers.outputs[v] = readers.outputs[v].saturating_add(1));
        readers
    }

    /// What the outputs need.
    pub fn live(&self) -> Live<'_> {
        let nodes: Vec<&Node> = self.nodes.iter().zip(self.live_nodes()).filter(|(_, live)| *live).map(|(n, _)| n).collect();
        let mut read = PerValue::new(self, false);
        nodes.iter().flat_map(|n| n.used()).chain(self.outputs.iter().copied()).for_each(|v| read[v] = true);
        let initializers = self.ids().filter(|&v| read[v]).filter_map(|v| Some((v, self.value(v).initializer()?))).collect();
        Live { initializers, nodes }
    }

    /// Which nodes the outputs need, by index.
    pub fn live_nodes(&self) -> Vec<bool> {
        let mut needed = PerValue::new(self, false);
        self.outputs.iter().for_each(|&o| needed[o] = true);
        let mut live = vec![false; self.nodes.len()];
        for (node, live) in self.nodes.iter().zip(&mut live).rev() {
            *live = node.outputs.iter().any(|&o| needed[o]);
            if *live {
                node.used().for_each(|v| needed[v] = true);
            }
        }
        live
    }
}

/// The part of a graph that its outputs need.
pub struct Live<'g> {
    /// Constants that no node computes, by their place among the values.
    pub initializers: Vec<(ValueId, &'g Tensor)>,
    /// In the graph's order.
    pub nodes: Vec<&'g Node>,
}

/// Who reads each value of a graph as it was when this was made.
pub struct Readers {
    nodes: PerValue<Vec<usize>>,
    outputs: PerValue<usize>,
}

impl Readers {
    /// The nodes that read a value, by index, once for each input.
    pub fn of(&self, id: ValueId) -> &[usize] {
        &self.nodes[id]
    }

    /// Whether it is an output of the graph.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs[id] > 0
    }

    /// How often it is read, by nodes and as an output of the graph.
    pub fn count(&self, id: ValueId) -> usize {
        self.nodes[id].len().saturating_add(self.outputs[id])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};

    #[test]
    fn readers_count_nodes_and_outputs() {
        let mut g = Graph::new("g");
        let x = g.input("x", TensorType::scalar(DType::F32));
        let node = Node::new("n", "Mul", vec![Some(x), Some(x)], Default::default());
        let y = g.node(node, vec![("y".into(), TensorType::scalar(DType::F32))])[0];
        g.outputs = vec![y, x];
        let readers = g.readers();
        assert_eq!((readers.of(x), readers.count(x), readers.count(y)), (&[0, 0][..], 3, 1));
        assert!(readers.is_output(x) && readers.of(y).is_empty());
    }
}
