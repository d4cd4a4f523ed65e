//! Other nodes over the values that a graph has.

use super::{Graph, Node, PerValue};

impl Graph {
    /// Gives the graph other nodes over its values, in an order in which every value is computed before it is read, as close to theirs as can
    /// be. A value that no node computes any more is left without one.
    ///
    /// Fails, and leaves the graph as it was, where nodes need each other's results.
    pub fn replace_nodes(&mut self, nodes: Vec<Node>) -> Result<(), String> {
        let mut producers = PerValue::new(self, None);
        for (i, node) in nodes.iter().enumerate() {
            node.outputs.iter().for_each(|&o| producers[o] = Some(i));
        }
        let order = sorted(&nodes, &producers)?;
        let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| nodes.get_mut(i)?.take()).collect();
        self.values.iter_mut().for_each(|v| v.producer = None);
        let outputs: Vec<_> = self.nodes.iter().enumerate().flat_map(|(i, n)| n.outputs.iter().map(move |&o| (o, i))).collect();
        outputs.into_iter().for_each(|(o, i)| self.value_mut(o).producer = Some(i));
        Ok(())
    }
}

/// The nodes of a graph, of which some go and some become others over the same values.
pub struct OtherNodes(Vec<Option<Node>>);

impl OtherNodes {
    /// The graph's own.
    pub fn of(graph: &Graph) -> OtherNodes {
        OtherNodes(graph.nodes.iter().cloned().map(Some).collect())
    }

    /// What is at that place now.
    pub fn get(&self, at: usize) -> Option<&Node> {
        self.0.get(at)?.as_ref()
    }

    /// Lets the node at that place go.
    pub fn remove(&mut self, at: usize) {
        self.set(at, None);
    }

    /// Puts a node in the place of the one that is, or was, there.
    pub fn put(&mut self, at: usize, node: Node) {
        self.set(at, Some(node));
    }

    fn set(&mut self, at: usize, node: Option<Node>) {
        if let Some(place) = self.0.get_mut(at) {
            *place = node;
        }
    }

    /// Gives them to the graph, as [`Graph::replace_nodes`] does.
    pub fn into_graph(self, graph: &mut Graph) -> Result<(), String> {
        graph.replace_nodes(self.0.into_iter().flatten().collect())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    None,
    /// Waits for what it reads.
    Open,
    Found,
}

/// The nodes' indices, each behind those of the nodes that it reads.
fn sorted(nodes: &[Node], producers: &PerValue<Option<usize>>) -> Result<Vec<usize>, String> {
    let mut places = vec![Place::None; nodes.len()];
    let mut order = Vec::with_capacity(nodes.len());
    for root in 0..nodes.len() {
        let mut stack = vec![root];
        while let Some(&at) = stack.last() {
            let Some(node) = nodes.get(at).filter(|_| places.get(at) != Some(&Place::Found)) else {
                stack.pop();
                continue;
            };
            let missing = node.used().filter_map(|v| producers[v]).find(|&p| places.get(p) != Some(&Place::Found));
            let place = match missing.map(|p| (p, nodes.get(p))) {
                Some((p, Some(other))) if p == at || places.get(p) == Some(&Place::Open) => {
                    return Err(format!("the nodes `{}` and `{}` need each other's results", node.name, other.name));
                }
                Some((p, _)) => {
                    stack.push(p);
                    Place::Open
                }
                None => {
                    order.push(at);
                    stack.pop();
                    Place::Found
                }
            };
            places.iter_mut().skip(at).take(1).for_each(|here| *here = place);
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, TensorType};

    /// `b = -a`, `c = |b|`, `d = ¬a`.
    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let ty = TensorType::scalar(DType::F32);
        let a = g.input("a", ty.clone());
        let add = |g: &mut Graph, op: &str, input, output: &str| {
            g.node(Node::new(op, op, vec![Some(input)], Default::default()), vec![(output.into(), ty.clone())])[0]
        };
        let b = add(&mut g, "Neg", a, "b");
        let c = add(&mut g, "Abs", b, "c");
        let d = add(&mut g, "Not", a, "d");
        g.outputs = vec![c, d];
        g
    }

    #[test]
    fn what_is_read_comes_first() {
        let mut g = graph();
        let mut nodes = g.nodes.clone();
        let d = nodes[2].outputs[0];
        nodes[0].inputs.push(Some(d));
        g.replace_nodes(nodes).unwrap();
        g.verify().unwrap();
        assert_eq!(g.nodes.iter().map(|n| n.op_type.as_str()).collect::<Vec<_>>(), ["Not", "Neg", "Abs"]);
    }

    #[test]
    fn circles_are_refused() {
        let mut g = graph();
        let mut nodes = g.nodes.clone();
        nodes[0].inputs[0] = Some(nodes[1].outputs[0]);
        assert_eq!(g.replace_nodes(nodes).unwrap_err(), "the nodes `Abs` and `Neg` need each other's results");
        g.verify().unwrap();
    }
}
