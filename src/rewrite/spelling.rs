//! What nodes at the end of a network mean together: activations as one operator or spelt out, and nodes that only hand a value on.

use crate::ir::{Dim, Graph, Node, ValueId};
use crate::loss::Activation;
use crate::operator::{Facts, Meaning, View};

pub(super) fn facts(graph: &Graph, node: &Node) -> Facts {
    View { graph, node }.facts()
}

/// The node that computes the value, where it means that.
fn means(graph: &Graph, value: ValueId, meaning: Meaning) -> Option<&Node> {
    graph.producer(value).filter(|n| facts(graph, n).meaning == meaning)
}

fn along(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let view = View { graph, node };
    view.operator()?.along(&view)
}

pub(super) fn order(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let view = View { graph, node };
    view.operator()?.order(&view)
}

/// What the node hands on, where it only puts its numbers into another shape, order or floating type.
pub(super) fn handed_on(graph: &Graph, node: &Node) -> Option<ValueId> {
    View { graph, node }.handed_on()
}

/// The one computed value of which the node's result is another form: each class's score from that class's score alone, at most with a
/// constant. Neither a sum of two branches nor a rectifier follows a classifier.
pub(super) fn scores_before(graph: &Graph, node: &Node) -> Option<ValueId> {
    let facts = facts(graph, node);
    let varies = |v: &ValueId| graph.value(*v).varies;
    let mut inputs = node.used().filter(varies);
    let (first, None) = (inputs.next()?, inputs.next()) else { return None };
    let leading = node.inputs.first() == Some(&Some(first));
    let single = node.used().filter(|v| !varies(v)).all(|v| graph.ty(v).count() == Some(Dim::Known(1)));
    let scaled = match facts.meaning {
        Meaning::Product => single,
        Meaning::Quotient | Meaning::Difference => single && leading,
        _ => false,
    };
    (facts.keeps_classes || scaled || handed_on(graph, node).is_some()).then_some(first)
}

/// The one computed value of each of whose numbers the node's result has one, such as of a rectifier or a bound: what lies before an output that is read
/// as it is.
pub(super) fn numbers_before(graph: &Graph, node: &Node) -> Option<ValueId> {
    let mut varying = node.used().filter(|&v| graph.value(v).varies);
    let (x, None) = (varying.next()?, varying.next()) else { return None };
    let result = node.outputs.first().map(|&o| graph.ty(o))?;
    (facts(graph, node).elementwise && result == graph.ty(x)).then_some(x)
}

/// The value without the nodes that only hand it on.
pub(super) fn behind_views(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(x) = graph.producer(value).and_then(|n| handed_on(graph, n)) {
        value = x;
    }
    value
}

/// An activation at the end of a network.
pub(super) struct Closing {
    /// Which.
    pub activation: Activation,
    /// What enters it.
    pub logits: ValueId,
    /// Over what it normalizes; none for what works on single elements.
    pub axes: Option<Vec<usize>>,
}

/// The activation that computes `value`.
pub(super) fn closing(graph: &Graph, value: ValueId) -> Option<Closing> {
    let node = graph.producer(value)?;
    let x = node.input(0)?;
    match facts(graph, node).meaning {
        Meaning::Probabilities => Some(Closing { activation: Activation::Softmax, logits: x, axes: Some(along(graph, node)?) }),
        Meaning::LogProbabilities => Some(Closing { activation: Activation::LogSoftmax, logits: x, axes: Some(along(graph, node)?) }),
        Meaning::Logistic => Some(Closing { activation: Activation::Sigmoid, logits: x, axes: None }),
        // The exponential of a log-softmax.
        Meaning::Exponential => {
            let found = closing(graph, x).filter(|found| found.activation == Activation::LogSoftmax)?;
            Some(Closing { activation: Activation::Softmax, ..found })
        }
        Meaning::Quotient => quotient(graph, Some(x), node.input(1)?),
        Meaning::Reciprocal => quotient(graph, None, x),
        // eᶻ · (1 / Σ eᶻ)
        Meaning::Product => [(x, node.input(1)?), (node.input(1)?, x)].into_iter().find_map(|(x, inverse)| {
            let below = means(graph, inverse, Meaning::Reciprocal)?.input(0)?;
            quotient(graph, Some(x), below)
        }),
        // z − log Σ eᶻ
        Meaning::Difference => {
            let logarithm = graph.producer(behind_views(graph, node.input(1)?))?;
            let (z, axes) = match facts(graph, logarithm).meaning {
                Meaning::LogTotal => (logarithm.input(0)?, along(graph, logarithm)?),
                Meaning::Logarithm => {
                    let (of, axes) = total(graph, logarithm.input(0)?)?;
                    (means(graph, of, Meaning::Exponential)?.input(0)?, axes)
                }
                _ => return None,
            };
            let fits = z == x && constant_along(graph, node.input(1)?, z, &axes);
            fits.then(|| Closing { activation: Activation::LogSoftmax, logits: unshifted(graph, z, &axes), axes: Some(axes) })
        }
        _ => None,
    }
}

/// What a quotient closes with, over a number above: none is 1.
fn quotient(graph: &Graph, above: Option<ValueId>, below: ValueId) -> Option<Closing> {
    let above = above.filter(|&v| !is_number(graph, v, 1.0));
    let exponent = |v: ValueId| means(graph, v, Meaning::Exponential)?.input(0);
    let sigmoid = |logits| Some(Closing { activation: Activation::Sigmoid, logits, axes: None });
    match above {
        // 1 / (1 + e⁻ᶻ)
        None => sigmoid(negated(graph, exponent(beside_one(graph, below)?)?)?),
        // eᶻ / (1 + eᶻ)
        Some(x) if beside_one(graph, below) == Some(x) => sigmoid(exponent(x)?),
        // eᶻ / Σ eᶻ
        Some(x) => {
            let (of, axes) = total(graph, below)?;
            let z = exponent(x)?;
            (of == x).then(|| Closing { activation: Activation::Softmax, logits: unshifted(graph, z, &axes), axes: Some(axes) })
        }
    }
}

/// Whether the value is that one number.
fn is_number(graph: &Graph, value: ValueId, number: f64) -> bool {
    let constant = graph.value(value).constant.as_ref().filter(|t| t.dtype().is_float() && t.count() > 0);
    constant.and_then(|t| t.to_f64().ok()).is_some_and(|numbers| numbers.iter().all(|&v| v == number))
}

/// The other of a node's two inputs, where one is that number and the result has the other's shape.
fn beside(graph: &Graph, node: &Node, number: f64) -> Option<ValueId> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let other = if is_number(graph, a, number) { b } else { Some(a).filter(|_| is_number(graph, b, number))? };
    (node.inputs.len() == 2 && graph.ty(*node.outputs.first()?) == graph.ty(other)).then_some(other)
}

/// `x` of `1 + x`.
fn beside_one(graph: &Graph, value: ValueId) -> Option<ValueId> {
    beside(graph, means(graph, value, Meaning::Sum)?, 1.0)
}

/// `x` of `−x`.
fn negated(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let node = graph.producer(value)?;
    match facts(graph, node).meaning {
        Meaning::Negation => node.input(0),
        Meaning::Product => beside(graph, node, -1.0),
        Meaning::Difference if is_number(graph, node.input(0)?, 0.0) => beside(graph, node, 0.0),
        _ => None,
    }
}

/// Where `value` is a sum over axes, which have length 1 in it: what is summed, and over which.
pub(super) fn total(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let node = means(graph, behind_views(graph, value), Meaning::Total)?;
    let (of, axes) = (node.input(0)?, along(graph, node)?);
    constant_along(graph, value, of, &axes).then_some((of, axes))
}

/// Whether `value`, beside `like`, is the same for all elements along `axes`, and has one for each element of the others.
fn constant_along(graph: &Graph, value: ValueId, like: ValueId, axes: &[usize]) -> bool {
    let (own, like) = (&graph.ty(value).shape, &graph.ty(like).shape);
    let expected = like.iter().enumerate().map(|(i, d)| if axes.contains(&i) { Dim::Known(1) } else { *d });
    own.len() == like.len() && own.iter().copied().eq(expected)
}

/// `z` of `z − m`, where `m` is one number for all classes of an image: no softmax depends on it.
fn unshifted(graph: &Graph, value: ValueId, axes: &[usize]) -> ValueId {
    let z = means(graph, value, Meaning::Difference).and_then(|difference| {
        let (z, m) = (difference.input(0)?, difference.input(1)?);
        let same = graph.ty(z) == graph.ty(value) && graph.ty(m).rank() == graph.ty(z).rank();
        (same && axes.iter().all(|&a| graph.ty(m).shape.get(a) == Some(&Dim::Known(1)))).then_some(z)
    });
    z.unwrap_or(value)
}
