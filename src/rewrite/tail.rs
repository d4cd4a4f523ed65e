//! The tail of a network: what lies between its logits and an output. An output may be the logits under another shape, or what a softmax or a
//! sigmoid makes of them, as one operator or spelt out; the loss reads the logits then, under the shape that the output has.

use super::disguise::{disguised, facts};
use crate::ir::{Dim, Graph, Node, ValueId};
use crate::loss::Activation;
use crate::operator::{Builder, Meaning, Rule, View};

/// The node that computes the value, where it means that.
fn means(graph: &Graph, value: ValueId, meaning: Meaning) -> Option<&Node> {
    graph.producer(value).filter(|n| facts(graph, n).meaning == meaning)
}

fn input(node: &Node, i: usize) -> Option<ValueId> {
    node.inputs.get(i).copied().flatten()
}

fn along(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let view = View { graph, node };
    view.operator()?.along(&view)
}

fn order(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let view = View { graph, node };
    view.operator()?.order(&view)
}

/// What the node hands on, where it only puts its numbers into another shape, order or floating type.
pub(super) fn handed_on(graph: &Graph, node: &Node) -> Option<ValueId> {
    let x = input(node, 0).filter(|&x| graph.value(x).varies)?;
    let facts = facts(graph, node);
    let float = |v: ValueId| graph.ty(v).dtype.is_float();
    let converts = facts.meaning == Meaning::Conversion && float(x) && node.outputs.first().is_some_and(|&y| float(y));
    (facts.view || converts || order(graph, node).is_some()).then_some(x)
}

/// The value without the nodes that only hand it on.
fn behind_views(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(x) = graph.producer(value).and_then(|n| handed_on(graph, n)) {
        value = x;
    }
    value
}

/// An activation at the end of a network.
struct Closing {
    activation: Activation,
    logits: ValueId,
    /// Over what it normalizes; none for what works on single elements.
    axes: Option<Vec<usize>>,
}

/// The activation that computes `value`.
fn closing(graph: &Graph, value: ValueId) -> Option<Closing> {
    let node = graph.producer(value)?;
    let x = input(node, 0)?;
    match facts(graph, node).meaning {
        Meaning::Probabilities => Some(Closing { activation: Activation::Softmax, logits: x, axes: Some(along(graph, node)?) }),
        Meaning::LogProbabilities => Some(Closing { activation: Activation::LogSoftmax, logits: x, axes: Some(along(graph, node)?) }),
        Meaning::Logistic => Some(Closing { activation: Activation::Sigmoid, logits: x, axes: None }),
        // eᶻ / Σ eᶻ
        Meaning::Quotient => {
            let (of, axes) = total(graph, input(node, 1)?)?;
            let z = input(means(graph, x, Meaning::Exponential)?, 0)?;
            (of == x).then(|| Closing { activation: Activation::Softmax, logits: unshifted(graph, z, &axes), axes: Some(axes) })
        }
        // z − log Σ eᶻ
        Meaning::Difference => {
            let logarithm = means(graph, behind_views(graph, input(node, 1)?), Meaning::Logarithm)?;
            let (of, axes) = total(graph, input(logarithm, 0)?)?;
            let z = input(means(graph, of, Meaning::Exponential)?, 0)?;
            let fits = z == x && constant_along(graph, input(node, 1)?, z, &axes);
            fits.then(|| Closing { activation: Activation::LogSoftmax, logits: unshifted(graph, z, &axes), axes: Some(axes) })
        }
        _ => None,
    }
}

/// Where `value` is a sum over axes, which have length 1 in it: what is summed, and over which.
fn total(graph: &Graph, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
    let node = means(graph, behind_views(graph, value), Meaning::Total)?;
    let (of, axes) = (input(node, 0)?, along(graph, node)?);
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
        let (z, m) = (input(difference, 0)?, input(difference, 1)?);
        let same = graph.ty(z) == graph.ty(value) && graph.ty(m).rank() == graph.ty(z).rank();
        (same && axes.iter().all(|&a| graph.ty(m).shape.get(a) == Some(&Dim::Known(1)))).then_some(z)
    });
    z.unwrap_or(value)
}

/// What lies between logits and an output.
#[derive(Debug, Clone)]
pub struct Tail {
    /// What becomes of the logits.
    pub activation: Activation,
    /// What enters the activation; without one the output, before it is converted to another type.
    pub logits: ValueId,
    /// The logits before shapes that only hand them on: outputs that share it are made of the same scores.
    pub origin: ValueId,
    /// What the activation gives.
    activated: ValueId,
    /// The nodes behind it, in the order of computation.
    nodes: Vec<usize>,
    /// Images, and scores for each.
    shape: [Dim; 2],
}

impl Tail {
    /// Looks back from an output. Fails, with the reason, where it is no classifier's or its logits cannot be told.
    pub fn of(graph: &Graph, output: ValueId) -> Rule<Tail> {
        let shape = form(graph, output)?;
        let (mut value, mut nodes, mut logarithm, mut converted) = (output, vec![], false, None);
        while let Some(index) = graph.value(value).producer {
            let node = &graph.nodes[index];
            if let Some(found) = closing(graph, value) {
                let activation = match (found.activation, logarithm) {
                    (activation, false) => activation,
                    (Activation::Softmax, true) => Activation::LogSoftmax,
                    _ => {
                        return Err(format!(
                            "it is the logarithm of what `{}` ({}) gives, which no loss here reads",
                            node.name, node.op_type
                        ));
                    }
                };
                nodes.reverse();
                let origin = behind_views(graph, found.logits);
                let tail = Tail { activation, logits: found.logits, origin, activated: value, nodes, shape };
                if let Some(axes) = found.axes {
                    tail.is_over_classes(graph, output, &axes, node)?;
                }
                disguised(graph, found.logits)?;
                return Ok(tail);
            }
            value = match (handed_on(graph, node), facts(graph, node).meaning, input(node, 0)) {
                (Some(x), meaning, _) => {
                    nodes.push(index);
                    if meaning == Meaning::Conversion {
                        converted = Some((x, nodes.len()));
                    }
                    x
                }
                (None, Meaning::Logarithm, Some(x)) if !logarithm => {
                    logarithm = true;
                    x
                }
                _ => break,
            };
        }
        disguised(graph, output)?;
        // Whatever is only a shape behind the logits is part of the output; a type of fewer digits is not.
        let (logits, count) = converted.filter(|_| !logarithm).unwrap_or((output, 0));
        nodes.truncate(count);
        nodes.reverse();
        let origin = behind_views(graph, logits);
        Ok(Tail { activation: Activation::None, logits, origin, activated: logits, nodes, shape })
    }

    /// Scores for each image.
    pub fn scores(&self) -> usize {
        self.shape[1].known().unwrap_or(1)
    }

    /// Whether the output has its numbers in another order than the logits.
    pub fn reorders(&self, graph: &Graph) -> bool {
        self.nodes.iter().any(|&i| moves(graph, &graph.nodes[i]).is_some())
    }

    /// The logits in the output's order, `[N, classes]`, appended to the graph that the tail is of.
    pub fn flat_logits(&self, graph: &mut Graph) -> Rule<ValueId> {
        self.through(graph, self.logits)
    }

    /// What the network gives out, `[N, classes]`.
    pub fn flat_output(&self, graph: &mut Graph) -> Rule<ValueId> {
        self.through(graph, self.activated)
    }

    fn through(&self, graph: &mut Graph, value: ValueId) -> Rule<ValueId> {
        let moved: Vec<(Vec<Dim>, Vec<usize>)> = self
            .nodes
            .iter()
            .filter_map(|&i| Some((graph.ty(input(&graph.nodes[i], 0)?).shape.clone(), moves(graph, &graph.nodes[i])?)))
            .collect();
        let mut b = Builder::new(graph);
        b.scope("logits");
        let mut at = value;
        for (shape, order) in moved {
            at = b.reshape(at, &shape)?;
            at = b.transpose(at, &order)?;
        }
        b.reshape(at, &self.shape)
    }

    /// Fails unless what is normalized over `axes` of the activation is what the output has for each image.
    fn is_over_classes(&self, graph: &Graph, output: ValueId, axes: &[usize], node: &Node) -> Rule<()> {
        let here = |why: &str| format!("`{}` ({}) {why}, so its results are no probabilities of classes", node.name, node.op_type);
        if self.shape[1] == Dim::Known(1) {
            return Err(here("normalizes a single number, which gives 1"));
        }
        let places = self.places(graph, output).ok_or_else(|| here("is followed by shapes that mix images and classes"))?;
        let long = |a: &&usize| graph.ty(self.activated).shape.get(**a).is_some_and(|d| *d != Dim::Known(1));
        let (over, classes) = (axes.iter().filter(long).collect::<Vec<_>>(), places.last());
        let images = if self.shape[0] == Dim::Known(1) { 0 } else { 1 };
        if places.len() != images + 1 || over != classes.into_iter().collect::<Vec<_>>() {
            return Err(here("does not normalize over all classes of each image"));
        }
        Ok(())
    }

    /// The axes of what the activation gives, without those of length 1, in the order that they have in the output; `None` where shapes on the
    /// way mix them.
    fn places(&self, graph: &Graph, output: ValueId) -> Option<Vec<usize>> {
        let long = |v: ValueId| -> Vec<(usize, Dim)> {
            graph.ty(v).shape.iter().copied().enumerate().filter(|(_, d)| *d != Dim::Known(1)).collect()
        };
        let same = |places: &[(usize, Dim)], v: ValueId| places.iter().map(|p| p.1).eq(long(v).into_iter().map(|p| p.1));
        let mut places = long(self.activated);
        for &i in &self.nodes {
            let node = &graph.nodes[i];
            let Some(order) = moves(graph, node) else { continue };
            let x = input(node, 0)?;
            if !same(&places, x) {
                return None;
            }
            let there = long(x);
            let at = |axis: usize| there.iter().position(|p| p.0 == axis).map(|k| places[k]);
            places = order.into_iter().filter_map(at).collect();
        }
        same(&places, output).then(|| places.into_iter().map(|p| p.0).collect())
    }
}

/// The order into which the node puts axes, where that moves any number.
fn moves(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let order = order(graph, node)?;
    let shape = &graph.ty(input(node, 0)?).shape;
    let long: Vec<usize> = order.iter().copied().filter(|&a| shape.get(a) != Some(&Dim::Known(1))).collect();
    (!long.is_sorted()).then_some(order)
}

/// Images and scores of an output that may be a classifier's: `[N, classes]`, with axes of length 1 anywhere behind the batch.
fn form(graph: &Graph, output: ValueId) -> Rule<[Dim; 2]> {
    let ty = graph.ty(output);
    let batch = graph.inputs.first().and_then(|&i| graph.ty(i).shape.first());
    let long: Vec<Dim> = ty.shape.iter().skip(1).copied().filter(|d| *d != Dim::Known(1)).collect();
    match (ty.shape.first(), &long[..]) {
        (Some(first), [] | [Dim::Known(_)]) if ty.dtype.is_float() && Some(first) == batch => {
            Ok([*first, long.first().copied().unwrap_or(Dim::Known(1))])
        }
        _ => Err(format!("is {ty}; a classifier's is [N, classes]")),
    }
}
