//! Outputs that may be the classifier's as well as the one that a layer was found behind. Many classifiers end with no such layer (distances to prototypes, a mean
//! of two heads, scores of their own scale, maps that are pooled), and an embedding beside them often does.

use super::head::Head;
use super::needs::needs;
use super::prediction::Prediction;
use super::spelling::{behind_views, closing, handed_on, numbers_before};
use crate::import::Imported;
use crate::ir::{Graph, ValueId};
use crate::loss::Activation;

/// Why `other` may be the classifier's where `head` stands behind `chosen`; `None` where it is not: features before that layer, or what says in another form
/// what the chosen output says.
pub(super) fn rivals(imported: &Imported, (chosen, head): (&Prediction, &Head), other: &Prediction) -> Option<&'static str> {
    let graph = &imported.graph;
    let output = |p: &Prediction| graph.outputs.get(p.index).copied();
    let (own, its) = (needs(graph, output(chosen)?), needs(graph, output(other)?));
    if !imported.parameters.iter().any(|p| its.contains(&p.enters)) {
        return None;
    }
    // Numbers by which it is more than what the other one is made of.
    let weight = |v: &&ValueId| graph.value(**v).constant.as_ref().is_some_and(|t| t.dtype().is_float() && t.count() > 1);
    if its.difference(&own).any(|v| weight(&v)) {
        return Some("has weights of its own");
    }
    let last = activation(graph, output(other)?);
    if !head.parameters().iter().any(|p| its.contains(p)) && !its.contains(&head.kernel.enters) {
        return last.filter(|(found, _)| same(*found) != same(chosen.tail.activation)).map(|_| "ends with an activation of its own");
    }
    // Made of the same scores: a summary of them, such as the highest one's probability, or the probabilities in a form of their own.
    let of_scores = |found: &(Activation, ValueId)| behind_views(graph, found.1) == chosen.tail.origin;
    let read_as = match same(chosen.tail.activation) {
        Activation::None => Activation::Softmax,
        activation => activation,
    };
    let mut activations = its.iter().filter_map(|&v| closing(graph, v)).map(|c| (c.activation, c.logits)).filter(of_scores);
    let summary = other.tail.scores() == 1 && chosen.tail.scores() > 1;
    let probabilities = other.tail.scores() == chosen.tail.scores() && last.as_ref().is_some_and(of_scores);
    match activations.all(|(found, _)| same(found) == read_as) {
        true if summary || probabilities => None,
        true => Some("is made of its scores"),
        false => Some("reads its scores by another activation"),
    }
}

/// The activation, a log-softmax as the softmax that it is the logarithm of.
pub(super) fn same(activation: Activation) -> Activation {
    if activation == Activation::LogSoftmax { Activation::Softmax } else { activation }
}

/// The last activation before an output, and what enters it, where each number since was made of one number.
fn activation(graph: &Graph, mut value: ValueId) -> Option<(Activation, ValueId)> {
    loop {
        if let Some(found) = closing(graph, value) {
            return Some((found.activation, found.logits));
        }
        let node = graph.producer(value)?;
        value = handed_on(graph, node).or_else(|| numbers_before(graph, node))?;
    }
}
