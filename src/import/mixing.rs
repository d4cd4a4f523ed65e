//! Whether a network can be seen to work on each image by itself, from its nodes alone.

use crate::ir::{Dim, Graph, Node, ValueId, product};
use crate::operator::{Meaning, View};

/// The first node of which that cannot be said: images may meet there. Looks at what the outputs are made of, in a graph of a symbolic batch.
pub fn may_mix(graph: &Graph) -> Option<&Node> {
    let live = graph.live_nodes();
    graph.nodes.get(meeting(graph, |index| live.get(index) == Some(&true))?)
}

/// The place of the first such node among those that are looked at.
pub(super) fn meeting(graph: &Graph, looked_at: impl Fn(usize) -> bool) -> Option<usize> {
    let concerns = |n: &Node| n.outputs.iter().any(|&v| graph.value(v).varies);
    graph.nodes.iter().enumerate().find(|(index, n)| looked_at(*index) && concerns(n) && !keeps_apart(graph, n)).map(|(index, _)| index)
}

/// The one axis along which the images lie.
fn image_axis(graph: &Graph, v: ValueId) -> Option<usize> {
    let mut found = graph.ty(v).shape.iter().enumerate().filter(|(_, d)| matches!(d, Dim::Batch(_)));
    found.next().map(|(axis, _)| axis).filter(|_| found.next().is_none())
}

fn keeps_apart(graph: &Graph, node: &Node) -> bool {
    let Some((&first, axis)) = node.outputs.first().and_then(|v| Some((v, image_axis(graph, *v)?))) else { return false };
    // Further results have their images where the first has them, or none.
    let alike = |&v: &ValueId| !graph.value(v).varies || image_axis(graph, v) == Some(axis);
    node.outputs.iter().all(alike) && (0..node.inputs.len()).all(|i| fits(&View { graph, node }, i, (first, axis)))
}

/// Whether what the result has along its images' axis comes from input `i` at the same place along the input's.
fn fits(n: &View, i: usize, (result, axis): (ValueId, usize)) -> bool {
    let Some(v) = n.input(i).filter(|_| !n.is_fixed(i)) else { return true };
    let Some(operator) = n.operator() else { return false };
    let Some(from) = image_axis(n.graph, v) else { return false };
    let (facts, own, to) = (operator.facts(), &n.graph.ty(v).shape, &n.graph.ty(result).shape);
    let same = own.get(from) == to.get(axis);
    // Axes behind the images'. Operands are laid over each other at their ends.
    let (behind, behind_result) = (own.iter().skip(from).skip(1).count(), to.iter().skip(axis).skip(1).count());
    let over = same && behind == behind_result;
    if let Some(axes) = operator.along(n) {
        let before = axes.iter().filter(|&&a| a < from).count();
        return same && !axes.contains(&from) && (axis == from || from.checked_sub(before) == Some(axis));
    }
    match facts.meaning {
        // The last axis of the first operand and the last but one of the second are summed over.
        Meaning::MatrixProduct => over && behind >= if i == 0 { 1 } else { 2 },
        _ if facts.elementwise => over,
        _ if facts.by_image => same && from == 0 && axis == 0,
        // Each image stays one run of numbers.
        _ if facts.view => {
            let before = |shape: &[Dim], axis: usize| shape.get(..axis).and_then(product);
            before(own, from).zip(before(to, axis)).is_some_and(|(a, b)| a == b)
        }
        _ => same && operator.source_axis(n, i, axis) == Some(from),
    }
}
