//! State that is updated where it lies.

use super::Pass;
use super::kernel::{self, Kernel, REPLACES};
use crate::error::{Error, Result};
use crate::ir::{Attr, DType, Domain, Graph, Node, Readers, ValueId};
use crate::operator::Meaning;
use crate::ops::table;
use std::collections::{HashSet, VecDeque};

/// Lets kernels that may write over their inputs wait for all others that read these, so that next values can have their buffers; the
/// attribute `replaces` says where that is so. A kernel that needs a result of such a reader's successors stays as it is.
pub struct UpdateInPlace<'k> {
    /// Every native operator that there is.
    pub kernels: &'k [&'static Kernel],
}

impl Pass for UpdateInPlace<'_> {
    fn name(&self) -> &'static str {
        "update in place"
    }

    fn run(&self, graph: &mut Graph) -> Result<()> {
        let readers = graph.readers();
        let mut nodes = graph.nodes.clone();
        for (at, node) in graph.nodes.iter().enumerate() {
            let Some(kernel) = kernel::of(self.kernels, node).filter(|k| !k.extras.replaces.is_empty()) else { continue };
            let needed = reached(graph, &graph.nodes, at);
            let replaced = kernel.extras.replaces.iter().filter_map(|&(input, _)| node.input(input));
            let all = replaced.flat_map(|v| readers_of_buffer(graph, &readers, v));
            let late: Vec<usize> = all.filter(|r| *r != at && !needed.contains(r)).collect();
            let new_floats = |r: usize| graph.nodes.get(r).filter(|n| gives_new_floats(graph, n)).and_then(Node::output);
            let awaited = |&r: &usize| new_floats(r).filter(|_| !reached(graph, &nodes, r).contains(&at)).map(Some);
            let awaited: Option<Vec<_>> = late.iter().map(awaited).collect();
            if let (Some(awaited), Some(node)) = (awaited, nodes.get_mut(at)) {
                node.inputs.extend(awaited);
                node.attrs.insert(REPLACES.into(), Attr::Int(1));
            }
        }
        graph.replace_nodes(nodes).map_err(Error::internal)
    }

    fn ensures(&self, graph: &Graph) -> Result<(), String> {
        let readers = graph.readers();
        for (at, node) in graph.nodes.iter().enumerate().filter(|(_, n)| n.attrs.contains_key(REPLACES)) {
            let kernel = kernel::of(self.kernels, node).ok_or_else(|| format!("node `{}` is no kernel's", node.name))?;
            let needed = reached(graph, &graph.nodes, at);
            for v in kernel.extras.replaces.iter().filter_map(|&(input, _)| node.input(input)) {
                let late = readers_of_buffer(graph, &readers, v).into_iter().find(|r| *r != at && !needed.contains(r));
                if let Some(late) = late.and_then(|late| graph.nodes.get(late)) {
                    return Err(format!("node `{}` may read `{}` after node `{}` has replaced it", late.name, graph.name_of(v), node.name));
                }
            }
        }
        Ok(())
    }
}

/// The nodes that may read a value's buffer: the value itself, or what a runtime may give the same buffer, because it has the same bytes under
/// another shape, or because the runtime finds that the node does nothing and leaves it out.
fn readers_of_buffer(graph: &Graph, readers: &Readers, v: ValueId) -> Vec<usize> {
    let mut found: Vec<usize> = readers.of(v).to_vec();
    let mut open: VecDeque<usize> = found.iter().copied().collect();
    while let Some(node) = open.pop_front().and_then(|at| graph.nodes.get(at)) {
        if node.domain == Domain::Onnx && !gives_new_floats(graph, node) {
            let same = node.outputs.iter().filter(|&&o| graph.ty(o).count() == graph.ty(v).count());
            let further: Vec<usize> = same.flat_map(|&o| readers.of(o).iter().copied()).filter(|r| !found.contains(r)).collect();
            open.extend(&further);
            found.extend(further);
        }
    }
    found
}

/// Pairs of a value and of its next one that may share a buffer.
pub fn shared_buffers(graph: &Graph, kernels: &[&Kernel]) -> Vec<(ValueId, ValueId)> {
    let updates = graph.nodes.iter().filter(|n| n.attrs.contains_key(REPLACES));
    let pairs = updates.filter_map(|n| Some((n, kernel::of(kernels, n)?)));
    pairs.flat_map(|(n, k)| k.extras.replaces.iter().filter_map(|&(i, o)| Some((n.input(i)?, *n.outputs.get(o)?)))).collect()
}

/// Whether the node's first result is a tensor of float32 in a buffer of its own, which is no view of what it reads.
fn gives_new_floats(graph: &Graph, node: &Node) -> bool {
    let product = |o: &dyn crate::operator::Operator| matches!(o.facts().meaning, Meaning::Convolution | Meaning::MatrixProduct);
    let new = node.domain == Domain::Native || node.domain == Domain::Onnx && table::find(&node.op_type).is_some_and(product);
    new && node.outputs.first().is_some_and(|&o| graph.ty(o).dtype == DType::F32)
}

/// Which of `nodes`, which give what those of the graph do, number `at` needs.
fn reached(graph: &Graph, nodes: &[Node], at: usize) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut open = vec![at];
    while let Some(node) = open.pop() {
        for before in nodes.get(node).into_iter().flat_map(Node::used).filter_map(|v| graph.value(v).producer) {
            if found.insert(before) {
                open.push(before);
            }
        }
    }
    found
}
