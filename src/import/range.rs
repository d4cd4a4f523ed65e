//! Between which numbers a value lies, as far as the nodes that compute it say.

use crate::ir::{Graph, ValueId};
use crate::operator::{Meaning, View};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Bounds, infinite where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
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

/// The range of a value, where every constant stays as it is.
pub(crate) fn range(graph: &Graph, value: ValueId) -> Range {
    range_beside(graph, value, &HashSet::new())
}

/// The range of a value, whatever `free` constants may become.
pub(super) fn range_beside(graph: &Graph, value: ValueId, free: &HashSet<ValueId>) -> Range {
    // Only what is behind the value is looked at: networks have thousands of nodes, and some thousands of outputs.
    let (mut needed, mut open) = (BTreeSet::new(), vec![value]);
    let node_of = |index: usize| Some((graph.nodes.get(index)?, graph.nodes.get(index)?.outputs.first().copied()?));
    while let Some(value) = open.pop() {
        let Some(index) = graph.value(value).producer else { continue };
        let first = node_of(index).filter(|(_, output)| *output == value);
        if let Some((node, _)) = first.filter(|_| needed.insert(index))
            && hands_on(View { graph, node })
        {
            open.extend(node.used());
        }
    }
    let mut known: HashMap<ValueId, Range> = free.iter().map(|&v| (v, ANY)).collect();
    // Nodes come after what they need.
    for (node, output) in needed.into_iter().filter_map(node_of) {
        known.insert(output, given(View { graph, node }, &known));
    }
    of(graph, value, &known)
}

/// Of a constant, or of what was computed before.
fn of(graph: &Graph, value: ValueId, known: &HashMap<ValueId, Range>) -> Range {
    match &graph.value(value).constant {
        Some(_) if known.contains_key(&value) => ANY,
        Some(constant) if constant.count() > ELEMENTS => ANY,
        Some(constant) => constant.to_f64().map_or(ANY, Range::of),
        None => known.get(&value).copied().unwrap_or(ANY),
    }
}

/// Whether the range of what the node gives depends on the ranges of what it reads.
fn hands_on(view: View) -> bool {
    use Meaning::*;
    let facts = view.facts();
    let arithmetic = matches!(facts.meaning, Sum | Difference | Product | Quotient | Rectifier | Bounds | Largest | Smallest);
    arithmetic || facts.moves || facts.keeps_sign || view.handed_on().is_some()
}

/// The range of a node's first output.
fn given(view: View, known: &HashMap<ValueId, Range>) -> Range {
    let View { graph, node } = view;
    let Some(operator) = view.operator() else { return ANY };
    let at = |i: usize| node.input(i).map_or(ANY, |v| of(graph, v, known));
    if let Some(x) = view.handed_on() {
        return of(graph, x, known);
    }
    let (low, high) = operator.bounds(&view);
    let own = Range { low, high };
    let facts = view.facts();
    match facts.meaning {
        Meaning::Sum => (1..node.inputs.len()).fold(at(0), |sum, i| sum.ends(at(i), |a, b| a + b)),
        Meaning::Difference => at(0).ends(at(1), |a, b| a - b),
        // A square.
        Meaning::Product if node.input(0) == node.input(1) => {
            let Range { low, high } = at(0);
            let least = if low <= 0.0 && high >= 0.0 { 0.0 } else { f64::INFINITY };
            let ends = Range::of([low * low, high * high]);
            Range { low: ends.low.min(least), high: ends.high }
        }
        Meaning::Product => at(0).ends(at(1), |a, b| a * b),
        Meaning::Quotient => {
            let below = at(1);
            if below.low > 0.0 || below.high < 0.0 { at(0).ends(below, |a, b| a / b) } else { ANY }
        }
        Meaning::Rectifier | Meaning::Bounds => at(0).within(own),
        Meaning::Largest => (1..node.inputs.len()).fold(at(0), |most, i| most.each(at(i), f64::max)),
        Meaning::Smallest => (1..node.inputs.len()).fold(at(0), |least, i| least.each(at(i), f64::min)),
        _ if facts.moves => {
            let float = |i: &usize| node.input(*i).is_some_and(|v| graph.ty(v).dtype.is_float());
            Range::of((0..node.inputs.len()).filter(float).map(at).flat_map(|found| [found.low, found.high]))
        }
        _ if facts.keeps_sign && at(0).low >= 0.0 => Range { low: own.low.max(0.0), high: own.high },
        _ => own,
    }
}
