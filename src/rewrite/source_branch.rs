//! The source network as a frozen branch of the training graph: its values for the images of the step, for the regularizers that compare.
//!
//! All its parameters are constants, BatchNorm uses the moving statistics of the source, and nothing of it is differentiated. What the
//! trained network computes in the same way from the same constants (frozen layers) is not computed twice.

use crate::ir::{Graph, Node, Tensor, TensorType, ValueId};
use std::collections::{HashMap, HashSet};

/// The constant with a parameter's starting point, `NAME.start`, made once in each graph.
pub(super) fn start_constant(graph: &mut Graph, name: &str, tensor: &Tensor) -> ValueId {
    let own = format!("{name}.start");
    let there = graph.find(&own).filter(|&v| graph.value(v).constant.as_ref().is_some_and(|t| same(t, tensor)));
    there.unwrap_or_else(|| graph.constant(&own, tensor.clone()))
}

/// Equal, mostly without a look at the numbers: tensors of one model share their bytes.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shape() == b.shape() && a.dtype() == b.dtype() && (a.bytes().as_ptr() == b.bytes().as_ptr() || a.bytes() == b.bytes())
}

/// The values of the source network in the training graph.
pub(super) struct SourceBranch<'a> {
    source: &'a Graph,
    /// From values of the source to values of the training graph.
    place: HashMap<ValueId, ValueId>,
}

impl<'a> SourceBranch<'a> {
    /// Appends the source network to `graph`; both take the images from `input`. `moving` are the names of the parameters and statistics that
    /// training changes.
    pub fn new(graph: &mut Graph, input: ValueId, source: &'a Graph, source_input: ValueId, moving: &HashSet<&str>) -> SourceBranch<'a> {
        let mut place = HashMap::from([(source_input, input)]);
        for id in source.ids() {
            let Some(tensor) = &source.value(id).constant else { continue };
            let name = source.name_of(id);
            let still =
                graph.find(name).filter(|&v| !moving.contains(name) && graph.value(v).constant.as_ref().is_some_and(|t| same(t, tensor)));
            let here = still.unwrap_or_else(|| match moving.contains(name) {
                true => start_constant(graph, name, tensor),
                false => graph.constant(&format!("source/{name}"), tensor.clone()),
            });
            place.insert(id, here);
        }
        let mut branch = SourceBranch { source, place };
        let mut known = Known::of(graph);
        let all: Vec<&Node> = source.nodes.iter().collect();
        branch.append(graph, &all, "source", &mut known);
        branch
    }

    /// What the source network computes for `value`, one of its own.
    pub fn at(&self, value: ValueId) -> Option<ValueId> {
        self.place.get(&value).copied()
    }

    /// Appends the part of the source network that depends on its value `from`, with `instead` in its place; gives what becomes of `wanted`.
    pub fn continued(&self, graph: &mut Graph, from: ValueId, instead: ValueId, wanted: ValueId) -> Option<ValueId> {
        let mut behind = HashSet::from([from]);
        let mut nodes = vec![];
        for node in &self.source.nodes {
            if node.used().any(|v| behind.contains(&v)) {
                behind.extend(node.outputs.iter().copied());
                nodes.push(node);
            }
        }
        let mut place = self.place.clone();
        place.insert(from, instead);
        let mut branch = SourceBranch { source: self.source, place };
        branch.append(graph, &nodes, "source.tuned", &mut Known::default());
        branch.at(wanted)
    }

    fn append(&mut self, graph: &mut Graph, nodes: &[&Node], scope: &str, known: &mut Known) {
        for node in nodes {
            let inputs: Vec<Option<ValueId>> = node.inputs.iter().map(|i| i.and_then(|v| self.at(v))).collect();
            let copy = Node { name: format!("{scope}/{}", node.name), inputs, outputs: vec![], ..(*node).clone() };
            let outputs = match known.find(graph, &copy) {
                Some(outputs) => outputs,
                None => {
                    let types: Vec<(String, TensorType)> =
                        node.outputs.iter().map(|&o| (format!("{scope}/{}", self.source.name_of(o)), self.source.ty(o).clone())).collect();
                    graph.node(copy, types)
                }
            };
            self.place.extend(node.outputs.iter().copied().zip(outputs));
        }
    }
}

/// The nodes of a graph by what they read.
#[derive(Default)]
struct Known {
    nodes: HashMap<(String, Vec<Option<ValueId>>), Vec<usize>>,
}

impl Known {
    fn of(graph: &Graph) -> Known {
        let mut nodes: HashMap<_, Vec<usize>> = HashMap::new();
        for (i, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.body.is_none()) {
            nodes.entry((node.op_type.clone(), node.inputs.clone())).or_default().push(i);
        }
        Known { nodes }
    }

    /// The outputs of a node that computes the same.
    fn find(&self, graph: &Graph, node: &Node) -> Option<Vec<ValueId>> {
        let candidates = self.nodes.get(&(node.op_type.clone(), node.inputs.clone()))?;
        candidates.iter().map(|&i| &graph.nodes[i]).find(|n| n.attrs == node.attrs).map(|n| n.outputs.clone())
    }
}
