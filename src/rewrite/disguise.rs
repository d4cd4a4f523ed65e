//! Probabilities that look like logits: an output that is computed from a softmax or a sigmoid in a way that no loss can look through.

use super::spelling::{facts, scores_before, total};
use crate::import::{Range, range};
use crate::ir::{Graph, Node, ValueId};
use crate::operator::{Meaning, Rule};
use std::collections::{BTreeSet, HashMap};

/// What a value is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Of scores or features.
    Plain,
    /// Of what the node of that index squashes, which may still turn out to be the gate of something plain.
    Gate(usize),
    /// Of probabilities that the node of that index computes.
    Probability(usize),
}

/// Fails where `value` is no plain score. Behind the last product with a weight every network computes features, whatever with.
pub(super) fn disguised(graph: &Graph, value: ValueId) -> Rule<()> {
    let (Made::Gate(index) | Made::Probability(index)) = made(graph, value, &mut HashMap::new()) else { return is_free(graph, value) };
    let node = graph.nodes.get(index).ok_or("is computed by a node that is not there")?;
    Err(format!(
        "is computed from what `{}` ({}) gives, in a way that hides the logits from the loss. Export the network up to its logits, or to the \
         softmax or sigmoid itself",
        node.name, node.op_type
    ))
}

/// Whether a value is seen to be scores: what a product with a weight gives that reads features, moved and scaled as a whole at most. Of anything else
/// only the numbers that it computes can say that they are no probabilities.
pub(super) fn is_evident(graph: &Graph, mut value: ValueId) -> bool {
    while let Some(node) = graph.producer(value) {
        let varying = || node.used().filter(|&v| graph.value(v).varies);
        if begins(graph, node) && varying().count() < node.used().count() {
            return varying().all(|v| made(graph, v, &mut HashMap::new()) == Made::Plain);
        }
        match scores_before(graph, node) {
            Some(before) => value = before,
            None => return false,
        }
    }
    false
}

/// Fails where a value can only lie between 0 and 1, as probabilities do and scores do not.
fn is_free(graph: &Graph, value: ValueId) -> Rule<()> {
    let Range { low, high } = range(graph, value);
    match graph.producer(value) {
        Some(node) if low >= -ROUNDING && high <= 1.0 + ROUNDING && low < high => Err(format!(
            "is computed by `{}` ({}), which can only give numbers between 0 and 1: probabilities in a form that no loss looks through, and no \
             logits. Export the network up to its logits, or to the softmax or sigmoid itself",
            node.name, node.op_type
        )),
        _ => Ok(()),
    }
}

/// Of bounds that a network has in float32.
const ROUNDING: f64 = 1e-6;

fn made(graph: &Graph, value: ValueId, known: &mut HashMap<ValueId, Made>) -> Made {
    let Some(last) = graph.value(value).producer else { return Made::Plain };
    // Only what is behind the value is looked at: networks have thousands of nodes, and some thousands of outputs.
    let (mut needed, mut open) = (BTreeSet::new(), vec![last]);
    while let Some(index) = open.pop() {
        let Some(node) = graph.nodes.get(index).filter(|_| needed.insert(index)) else { continue };
        if !begins(graph, node) {
            open.extend(node.used().filter_map(|v| graph.value(v).producer));
        }
    }
    // Nodes come after what they need.
    for (index, node) in needed.into_iter().filter_map(|index| Some((index, graph.nodes.get(index)?))) {
        let own = if begins(graph, node) { Made::Plain } else { of(graph, index, node, known) };
        known.extend(node.outputs.iter().map(|&o| (o, own)));
    }
    known.get(&value).copied().unwrap_or(Made::Plain)
}

/// Whether what the node computes is features or scores, whatever it is computed from.
pub(super) fn begins(graph: &Graph, node: &Node) -> bool {
    let facts = facts(graph, node);
    let product = matches!(facts.meaning, Meaning::MatrixProduct | Meaning::Convolution | Meaning::TransposedConvolution);
    product || facts.normalization.is_some()
}

fn of(graph: &Graph, index: usize, node: &Node, known: &HashMap<ValueId, Made>) -> Made {
    let inputs: Vec<Made> = node
        .used()
        .filter(|&v| graph.value(v).varies && graph.ty(v).dtype.is_float())
        .map(|v| known.get(&v).copied().unwrap_or(Made::Plain))
        .collect();
    let probability = inputs.iter().copied().find(|m| matches!(m, Made::Probability(_)));
    let gate = inputs.iter().copied().find(|m| *m != Made::Plain);
    match facts(graph, node).meaning {
        Meaning::Probabilities | Meaning::LogProbabilities => Made::Probability(index),
        Meaning::Logistic | Meaning::Squashed | Meaning::Exponential => gate.unwrap_or(Made::Gate(index)),
        // Shares of a whole.
        Meaning::Quotient if node.input(1).and_then(|v| total(graph, v)).is_some_and(|(of, _)| node.input(0) == Some(of)) => {
            Made::Probability(index)
        }
        // A gate opens something plain.
        Meaning::Product if inputs.contains(&Made::Plain) => probability.unwrap_or(Made::Plain),
        _ => probability.or(gate).unwrap_or(Made::Plain),
    }
}
