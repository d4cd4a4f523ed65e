//! When each buffer of a run is needed: the order of the nodes, what shares a buffer, and the moment with the most of them.
//!
//! This follows ONNX Runtime's CPU provider: nodes run depth first from the last result back, views are free, and an element-wise
//! node writes over an input that nobody reads later. Inputs, constants and graph outputs lie outside: their buffers are the caller's.

use crate::ir::{Dim, Graph, Node, TensorType, ValueId};
use crate::operator::{Facts, Meaning, View};

fn facts(graph: &Graph, node: &Node) -> Facts {
    View { graph, node }.operator().map_or(Facts::NONE, |o| o.facts())
}

/// One stretch of memory.
pub(super) struct Buffer {
    pub bytes: u64,
    /// Positions in the order of nodes.
    pub first: usize,
    pub last: usize,
    /// What it holds, each from a position on.
    pub holds: Vec<(usize, ValueId)>,
}

impl Buffer {
    pub fn alive(&self, at: usize) -> bool {
        (self.first..=self.last).contains(&at)
    }

    /// The value that it holds at a position.
    pub fn value(&self, at: usize) -> Option<ValueId> {
        self.holds.iter().rev().find(|h| h.0 <= at).map(|h| h.1)
    }
}

pub(super) struct Lifetimes {
    /// Indices of the nodes that run, in their order.
    pub order: Vec<usize>,
    pub buffers: Vec<Buffer>,
    /// The position where buffers and the node's own working memory take the most.
    pub peak: usize,
    /// Working memory of the node at the peak.
    pub workspace: u64,
}

pub fn bytes(ty: &TensorType) -> u64 {
    let elements = ty.shape.iter().fold(1u64, |n, d| match d {
        Dim::Known(d) => n.saturating_mul(*d as u64),
        Dim::Batch(_) => n,
    });
    elements.saturating_mul(ty.dtype.size() as u64)
}

/// The order in which ONNX Runtime runs the nodes that the outputs need.
fn order(graph: &Graph) -> Vec<usize> {
    let live = graph.live_nodes();
    let needed = |i: usize| live[i] && !constant(graph, &graph.nodes[i]);
    let mut read = vec![false; graph.nodes.len()];
    let before = |node: &Node| node.used().filter_map(|v| graph.value(v).producer).filter(|&p| needed(p)).collect::<Vec<_>>();
    for (_, node) in graph.nodes.iter().enumerate().filter(|(i, _)| needed(*i)) {
        before(node).into_iter().for_each(|p| read[p] = true);
    }
    let mut stack: Vec<(usize, bool)> = (0..graph.nodes.len()).filter(|&i| needed(i) && !read[i]).map(|i| (i, false)).collect();
    let (mut seen, mut order) = (vec![false; graph.nodes.len()], vec![]);
    while let Some((node, done)) = stack.pop() {
        if done {
            order.push(node);
        } else if !std::mem::replace(&mut seen[node], true) {
            stack.push((node, true));
            let mut inputs = before(&graph.nodes[node]);
            inputs.sort_unstable();
            stack.extend(inputs.into_iter().filter(|&p| !seen[p]).map(|p| (p, false)));
        }
    }
    order
}

/// Nodes that a runtime computes once, when it loads the graph.
fn constant(graph: &Graph, node: &Node) -> bool {
    node.outputs.iter().all(|&o| graph.value(o).constant.is_some())
}

/// Bytes that the kernel takes for itself: the columns of one image in a transposed convolution.
fn workspace(graph: &Graph, node: &Node) -> u64 {
    let (Some(x), Some(w)) = (node.inputs.first().copied().flatten(), node.inputs.get(1).copied().flatten()) else { return 0 };
    if facts(graph, node).meaning != Meaning::TransposedConvolution {
        return 0;
    }
    let sizes = |v: ValueId, from: usize| graph.ty(v).shape.get(from..).unwrap_or_default().iter().filter_map(|d| d.known());
    sizes(w, 1).chain(sizes(x, 2)).fold(graph.ty(x).dtype.size() as u64, |n, d| n.saturating_mul(d as u64))
}

pub(super) fn lifetimes(graph: &Graph) -> Lifetimes {
    let order = order(graph);
    let mut external: Vec<bool> = graph.values.iter().map(|v| v.constant.is_some()).collect();
    graph.inputs.iter().chain(&graph.outputs).for_each(|v| external[v.index()] = true);
    // The value whose buffer each value is a view of.
    let mut root: Vec<ValueId> = graph.ids().collect();
    for &i in &order {
        let node = &graph.nodes[i];
        if let (true, Some(input), Some(&output)) = (facts(graph, node).view, node.used().next(), node.outputs.first())
            && !external[output.index()]
        {
            root[output.index()] = root[input.index()];
        }
    }
    let mut last: Vec<usize> = vec![0; graph.values.len()];
    for (at, &i) in order.iter().enumerate() {
        let node = &graph.nodes[i];
        for v in node.used().chain(node.outputs.iter().copied()) {
            last[root[v.index()].index()] = at;
        }
    }
    let mut buffers: Vec<Buffer> = vec![];
    let mut buffer_of: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (at, &i) in order.iter().enumerate() {
        let node = &graph.nodes[i];
        for &output in &node.outputs {
            if root[output.index()] != output || external[output.index()] {
                continue;
            }
            let size = bytes(graph.ty(output));
            let reused = node
                .used()
                .take(2)
                .filter(|_| facts(graph, node).in_place)
                .map(|v| root[v.index()])
                .filter(|r| last[r.index()] == at && bytes(graph.ty(*r)) == size)
                .find_map(|r| buffer_of[r.index()]);
            let buffer = reused.unwrap_or_else(|| {
                buffers.push(Buffer { bytes: size, first: at, last: at, holds: vec![] });
                buffers.len() - 1
            });
            buffers[buffer].last = last[output.index()];
            buffers[buffer].holds.push((at, output));
            buffer_of[output.index()] = Some(buffer);
        }
    }
    let mut change = vec![0i64; order.len() + 1];
    for b in &buffers {
        change[b.first] += b.bytes as i64;
        change[b.last + 1] -= b.bytes as i64;
    }
    let (mut alive, mut best, mut peak, mut most) = (0i64, -1i64, 0, 0);
    for (at, &i) in order.iter().enumerate() {
        alive += change[at];
        let own = workspace(graph, &graph.nodes[i]);
        if alive + own as i64 > best {
            (best, peak, most) = (alive + own as i64, at, own);
        }
    }
    Lifetimes { order, buffers, peak, workspace: most }
}
