//! Between which numbers a value lies, as far as the nodes that compute it say.

use super::spelling::{facts, handed_on};
use crate::ir::{Graph, Node, ValueId};
use crate::operator::{Meaning, View};
use std::collections::{HashMap, HashSet};

/// Bounds, infinite where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub low: f64,
    pub high: f64,
}

const ANY: Range = Range { low: f64::NEG_INFINITY, high: f64::INFINITY };

/// Constants of more elements are no bounds of formulas.
const ELEMENTS: usize = 1 << 16;

impl Range {
    fn of(ends: impl IntoIterator<Item = f64>) -> Range {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for end in ends {
            // What infinity times 0 is depends on how both are reached.
            if end.is_nan() {
                return ANY;
            }
            (low, high) = (low.min(end), high.max(end));
        }
        if low <= high { Range { low, high } } else { ANY }
    }

    fn ends(self, other: Range, f: impl Fn(f64, f64) -> f64) -> Range {
        Range::of([f(self.low, other.low), f(self.low, other.high), f(self.high, other.low), f(self.high, other.high)])
    }

    /// Both ends by themselves, of what grows with both.
    fn each(self, other: Range, f: impl Fn(f64, f64) -> f64) -> Range {
        Range { low: f(self.low, other.low), high: f(self.high, other.high) }
    }

    fn within(self, other: Range) -> Range {
        let cut = |end: f64| end.max(other.low).min(other.high);
        Range { low: cut(self.low), high: cut(self.high) }
    }
}

/// The range of a value.
pub(super) fn range(graph: &Graph, value: ValueId) -> Range {
    let mut needed = HashSet::from([value]);
    // Nodes come after what they need.
    for node in graph.nodes.iter().rev() {
        if node.outputs.first().is_some_and(|o| needed.contains(o)) && hands_on(graph, node) {
            needed.extend(node.used());
        }
    }
    let mut known = HashMap::new();
    for node in &graph.nodes {
        if let Some(&output) = node.outputs.first().filter(|o| needed.contains(o)) {
            known.insert(output, given(graph, node, &known));
        }
    }
    of(graph, value, &known)
}

/// Of a constant, or of what was computed before.
fn of(graph: &Graph, value: ValueId, known: &HashMap<ValueId, Range>) -> Range {
    match &graph.value(value).constant {
        Some(constant) if constant.count() > ELEMENTS => ANY,
        Some(constant) => constant.to_f64().map_or(ANY, Range::of),
        None => known.get(&value).copied().unwrap_or(ANY),
    }
}

/// Whether the range of what the node gives depends on the ranges of what it reads.
fn hands_on(graph: &Graph, node: &Node) -> bool {
    use Meaning::*;
    let arithmetic = matches!(facts(graph, node).meaning, Sum | Difference | Product | Quotient | Rectifier | Bounds | Largest | Smallest);
    arithmetic || facts(graph, node).moves || handed_on(graph, node).is_some()
}

/// The range of a node's first output.
fn given(graph: &Graph, node: &Node, known: &HashMap<ValueId, Range>) -> Range {
    let view = View { graph, node };
    let Some(operator) = view.operator() else { return ANY };
    let at = |i: usize| node.input(i).map_or(ANY, |v| of(graph, v, known));
    if let Some(x) = handed_on(graph, node) {
        return of(graph, x, known);
    }
    let (low, high) = operator.bounds(&view);
    let own = Range { low, high };
    match facts(graph, node).meaning {
        Meaning::Sum => (1..node.inputs.len()).fold(at(0), |sum, i| sum.ends(at(i), |a, b| a + b)),
        Meaning::Difference => at(0).ends(at(1), |a, b| a - b),
        Meaning::Product => at(0).ends(at(1), |a, b| a * b),
        Meaning::Quotient => {
            let below = at(1);
            if below.low > 0.0 || below.high < 0.0 { at(0).ends(below, |a, b| a / b) } else { ANY }
        }
        Meaning::Rectifier | Meaning::Bounds => at(0).within(own),
        Meaning::Largest => (1..node.inputs.len()).fold(at(0), |most, i| most.each(at(i), f64::max)),
        Meaning::Smallest => (1..node.inputs.len()).fold(at(0), |least, i| least.each(at(i), f64::min)),
        _ if facts(graph, node).moves => {
            let float = |i: &usize| node.input(*i).is_some_and(|v| graph.ty(v).dtype.is_float());
            Range::of((0..node.inputs.len()).filter(float).map(at).flat_map(|found| [found.low, found.high]))
        }
        _ => own,
    }
}
