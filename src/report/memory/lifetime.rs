//! When each buffer of a run is needed: the order of the nodes, what shares a buffer, and the moment with the most of them.
//!
//! This follows ONNX Runtime's CPU provider: nodes run depth first from the last result back, views are free, and an element-wise
//! node writes over an input that nobody reads later. Inputs, constants and graph outputs lie outside: their buffers are the caller's.

use crate::ir::{Dim, Graph, Node, PerValue, TensorType, ValueId};
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

/// What sizes come to, however large a file says that they are.
pub fn total(sizes: impl IntoIterator<Item = u64>) -> u64 {
    sizes.into_iter().fold(0, u64::saturating_add)
}

/// Marks a place; whether it was marked before.
fn mark(marks: &mut [bool], at: usize) -> bool {
    marks.get_mut(at).is_none_or(|marked| std::mem::replace(marked, true))
}

/// The order in which ONNX Runtime runs the nodes that the outputs need.
fn order(graph: &Graph) -> Vec<usize> {
    let live = graph.live_nodes();
    let needed = |i: usize| live.get(i) == Some(&true) && graph.nodes.get(i).is_some_and(|node| !constant(graph, node));
    let before = |node: &Node| node.used().filter_map(|v| graph.value(v).producer).filter(|&p| needed(p)).collect::<Vec<_>>();
    let mut read = vec![false; graph.nodes.len()];
    for (_, node) in graph.nodes.iter().enumerate().filter(|(i, _)| needed(*i)) {
        for p in before(node) {
            mark(&mut read, p);
        }
    }
    let last = read.iter().enumerate().filter(|(i, read)| needed(*i) && !**read);
    let mut stack: Vec<(usize, bool)> = last.map(|(i, _)| (i, false)).collect();
    let (mut seen, mut order) = (vec![false; graph.nodes.len()], vec![]);
    while let Some((at, done)) = stack.pop() {
        if done {
            order.push(at);
        } else if !mark(&mut seen, at) {
            stack.push((at, true));
            let mut inputs = graph.nodes.get(at).map(before).unwrap_or_default();
            inputs.sort_unstable();
            stack.extend(inputs.into_iter().filter(|&p| seen.get(p) == Some(&false)).map(|p| (p, false)));
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
    let (Some(x), Some(w)) = (node.input(0), node.input(1)) else { return 0 };
    if facts(graph, node).meaning != Meaning::TransposedConvolution {
        return 0;
    }
    let sizes = |v: ValueId, from: usize| graph.ty(v).shape.get(from..).unwrap_or_default().iter().filter_map(|d| d.known());
    sizes(w, 1).chain(sizes(x, 2)).fold(graph.ty(x).dtype.size() as u64, |n, d| n.saturating_mul(d as u64))
}

pub(super) fn lifetimes(graph: &Graph) -> Lifetimes {
    let order = order(graph);
    let run: Vec<&Node> = order.iter().filter_map(|&i| graph.nodes.get(i)).collect();
    let mut external = PerValue::new(graph, false);
    graph.ids().for_each(|v| external[v] = graph.value(v).constant.is_some());
    graph.inputs.iter().chain(&graph.outputs).for_each(|v| external[*v] = true);
    // The value whose buffer each value is a view of, where it is one.
    let mut viewed: PerValue<Option<ValueId>> = PerValue::new(graph, None);
    for node in &run {
        if let (true, Some(input), Some(&output)) = (facts(graph, node).view, node.used().next(), node.outputs.first())
            && !external[output]
        {
            viewed[output] = Some(viewed[input].unwrap_or(input));
        }
    }
    let root = |v: ValueId| viewed[v].unwrap_or(v);
    let mut last = PerValue::new(graph, 0);
    for (at, node) in run.iter().enumerate() {
        for v in node.used().chain(node.outputs.iter().copied()) {
            last[root(v)] = at;
        }
    }
    let mut buffers: Vec<Buffer> = vec![];
    let mut buffer_of: PerValue<Option<usize>> = PerValue::new(graph, None);
    for (at, node) in run.iter().enumerate() {
        for &output in &node.outputs {
            if viewed[output].is_some() || external[output] {
                continue;
            }
            let size = bytes(graph.ty(output));
            let reused = node
                .used()
                .take(2)
                .filter(|_| facts(graph, node).in_place)
                .map(root)
                .filter(|r| last[*r] == at && bytes(graph.ty(*r)) == size)
                .find_map(|r| buffer_of[r]);
            let place = reused.unwrap_or(buffers.len());
            if place == buffers.len() {
                buffers.push(Buffer { bytes: size, first: at, last: at, holds: vec![] });
            }
            if let Some(buffer) = buffers.get_mut(place) {
                buffer.last = last[output];
                buffer.holds.push((at, output));
            }
            buffer_of[output] = Some(place);
        }
    }
    let (mut begin, mut end) = (vec![0u64; run.len()], vec![0u64; run.len()]);
    let add = |list: &mut [u64], at: usize, bytes| {
        if let Some(sum) = list.get_mut(at) {
            *sum = sum.saturating_add(bytes);
        }
    };
    for b in &buffers {
        add(&mut begin, b.first, b.bytes);
        add(&mut end, b.last, b.bytes);
    }
    let (mut alive, mut best, mut peak, mut most) = (0u64, None, 0, 0);
    for (at, ((node, begin), end)) in run.iter().zip(begin).zip(end).enumerate() {
        alive = alive.saturating_add(begin);
        let own = workspace(graph, node);
        let now = alive.saturating_add(own);
        if best.is_none_or(|best| now > best) {
            (best, peak, most) = (Some(now), at, own);
        }
        alive = alive.saturating_sub(end);
    }
    Lifetimes { order, buffers, peak, workspace: most }
}
