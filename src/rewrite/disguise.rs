//! Probabilities that look like logits: an output that is computed from a softmax or a sigmoid in a way that no loss can look through.

use crate::ir::{Graph, Node, ValueId};
use crate::operator::{Facts, Meaning, Rule, View};
use std::collections::HashMap;

pub(super) fn facts(graph: &Graph, node: &Node) -> Facts {
    View { graph, node }.operator().map_or(Facts::NONE, |o| o.facts())
}

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
    let (Made::Gate(index) | Made::Probability(index)) = made(graph, value, &mut HashMap::new()) else { return Ok(()) };
    let node = &graph.nodes[index];
    Err(format!(
        "is computed from what `{}` ({}) gives, in a way that hides the logits from the loss. Export the network up to its logits, or to the \
         softmax or sigmoid itself",
        node.name, node.op_type
    ))
}

fn made(graph: &Graph, value: ValueId, known: &mut HashMap<ValueId, Made>) -> Made {
    let Some(last) = graph.value(value).producer else { return Made::Plain };
    let mut needed = vec![false; last + 1];
    needed[last] = true;
    for index in (0..=last).rev() {
        if needed[index] && !begins(graph, &graph.nodes[index]) {
            let before = graph.nodes[index].used().filter_map(|v| graph.value(v).producer);
            before.for_each(|i| needed[i] = true);
        }
    }
    for index in (0..=last).filter(|&i| needed[i]) {
        let node = &graph.nodes[index];
        let own = if begins(graph, node) { Made::Plain } else { of(graph, index, node, known) };
        known.extend(node.outputs.iter().map(|&o| (o, own)));
    }
    known.get(&value).copied().unwrap_or(Made::Plain)
}

/// Whether what the node computes is features or scores, whatever it is computed from.
fn begins(graph: &Graph, node: &Node) -> bool {
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
        // A gate opens something plain.
        Meaning::Product if inputs.contains(&Made::Plain) => probability.unwrap_or(Made::Plain),
        _ => probability.or(gate).unwrap_or(Made::Plain),
    }
}
