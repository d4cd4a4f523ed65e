//! The tail of a network: what lies between its logits and an output. An output may be the logits under another shape, or what a softmax or a
//! sigmoid makes of them, as one operator or spelt out; the loss reads the logits then, under the shape that the output has.

use super::disguise::{disguised, is_evident};
use super::spelling::{behind_views, closing, facts, handed_on, order};
use crate::field::Field;
use crate::ir::{Dim, Graph, Node, ValueId};
use crate::loss::Activation;
use crate::operator::{Builder, Meaning, Rule};

/// What lies between logits and an output.
#[derive(Debug, Clone)]
pub struct Tail {
    /// What becomes of the logits.
    pub activation: Activation,
    /// What enters the activation; without one the output, before it is converted to another type.
    pub logits: ValueId,
    /// The logits before shapes that only hand them on: outputs that share it are made of the same scores.
    pub origin: ValueId,
    /// Whether the nodes before them show that the logits are scores; where they do not, the network is run, and its numbers are looked at
    /// ([`are_probabilities`]).
    pub evident: bool,
    /// Why no loss reads logits here, where they cannot be told from the output: it gives probabilities in a form of its own.
    /// What reads the output as it is does not mind; the logits are the output then.
    pub hidden: Option<String>,
    /// What the activation gives.
    activated: ValueId,
    /// The nodes behind it, in the order of computation.
    nodes: Vec<usize>,
    /// Images, and scores for each.
    shape: (Dim, Dim),
}

impl Tail {
    /// Looks back from an output. Fails, with the reason, where it is not numbers for each image.
    pub fn of(graph: &Graph, output: ValueId) -> Rule<Tail> {
        let shape = form(graph, output)?;
        let (mut value, mut nodes, mut logarithm, mut converted) = (output, vec![], false, None);
        while let Some(index) = graph.value(value).producer {
            let Some(node) = graph.nodes.get(index) else { break };
            if let Some(found) = closing(graph, value) {
                let activation = match (found.activation, logarithm) {
                    (activation, false) => activation,
                    (Activation::Softmax, true) => Activation::LogSoftmax,
                    _ => {
                        let why = format!(
                            "is the logarithm of what `{}` ({}) gives, and no loss of classes reads that. Export the network up to its logits, or to \
                             the activation itself",
                            node.name, node.op_type
                        );
                        return Ok(Tail::bare(graph, output, shape, why));
                    }
                };
                nodes.reverse();
                let origin = behind_views(graph, found.logits);
                let tail = Tail { activation, logits: found.logits, origin, evident: true, hidden: None, activated: value, nodes, shape };
                let single = |axis: &usize| graph.ty(value).shape.get(*axis) == Some(&Dim::Known(1));
                if found.axes.as_ref().is_some_and(|axes| axes.iter().all(single)) {
                    return Err(format!(
                        "is the same whatever the image: `{}` ({}) normalizes a single number, and not over all classes of each image",
                        node.name, node.op_type
                    ));
                }
                let over = found.axes.map_or(Ok(()), |axes| tail.is_over_classes(graph, output, &axes, node));
                return Ok(match over.and_then(|()| disguised(graph, found.logits)) {
                    Ok(()) => tail,
                    Err(why) => Tail::bare(graph, output, shape, why),
                });
            }
            value = match (handed_on(graph, node), facts(graph, node).meaning, node.input(0)) {
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
        if let Err(why) = disguised(graph, output) {
            return Ok(Tail::bare(graph, output, shape, why));
        }
        // Whatever is only a shape behind the logits is part of the output; a type of fewer digits is not.
        let (logits, count) = converted.filter(|_| !logarithm).unwrap_or((output, 0));
        nodes.truncate(count);
        nodes.reverse();
        let origin = behind_views(graph, logits);
        let evident = is_evident(graph, logits);
        Ok(Tail { activation: Activation::None, logits, origin, evident, hidden: None, activated: logits, nodes, shape })
    }

    /// Of an output that is read as it is.
    fn bare(graph: &Graph, output: ValueId, shape: (Dim, Dim), why: String) -> Tail {
        let origin = behind_views(graph, output);
        Tail {
            activation: Activation::None,
            logits: output,
            origin,
            evident: false,
            hidden: Some(why),
            activated: output,
            nodes: vec![],
            shape,
        }
    }

    /// Scores for each image.
    pub fn scores(&self) -> usize {
        self.shape.1.known().unwrap_or(1)
    }

    /// Whether the output has its numbers in another order than the logits.
    pub fn reorders(&self, graph: &Graph) -> bool {
        self.behind(graph).any(|node| moves(graph, node).is_some())
    }

    /// The nodes behind what the activation gives.
    fn behind<'g>(&'g self, graph: &'g Graph) -> impl Iterator<Item = &'g Node> {
        self.nodes.iter().filter_map(|&i| graph.nodes.get(i))
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
        let moved: Vec<(Vec<Dim>, Vec<usize>)> =
            self.behind(graph).filter_map(|node| Some((graph.ty(node.input(0)?).shape.clone(), moves(graph, node)?))).collect();
        let mut b = Builder::new(graph);
        b.scope("logits");
        let mut at = value;
        for (shape, order) in moved {
            at = b.reshape(at, &shape)?;
            at = b.transpose(at, &order)?;
        }
        b.reshape(at, &[self.shape.0, self.shape.1])
    }

    /// Fails unless what is normalized over `axes` of the activation is what the output has for each image.
    fn is_over_classes(&self, graph: &Graph, output: ValueId, axes: &[usize], node: &Node) -> Rule<()> {
        let here = |why: &str| format!("`{}` ({}) {why}, so its results are no probabilities of classes", node.name, node.op_type);
        let places = self.places(graph, output).ok_or_else(|| here("is followed by shapes that mix images and classes"))?;
        let long = |a: &&usize| graph.ty(self.activated).shape.get(**a).is_some_and(|d| *d != Dim::Known(1));
        let (over, classes) = (axes.iter().filter(long).collect::<Vec<_>>(), places.last());
        let images_and_classes = if self.shape.0 == Dim::Known(1) { 1 } else { 2 };
        if places.len() != images_and_classes || over != classes.into_iter().collect::<Vec<_>>() {
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
        for node in self.behind(graph) {
            let Some(order) = moves(graph, node) else { continue };
            let x = node.input(0)?;
            if !same(&places, x) {
                return None;
            }
            let there = long(x);
            let at = |axis: usize| there.iter().position(|p| p.0 == axis).and_then(|k| places.get(k).copied());
            places = order.into_iter().filter_map(at).collect();
        }
        same(&places, output).then(|| places.into_iter().map(|p| p.0).collect())
    }
}

/// Whether what a network gives for some images can only be probabilities of classes that exclude each other: each image's lie between 0 and 1
/// and sum to 1.
pub fn are_probabilities(given: &[f64], scores: usize) -> bool {
    let sums = |image: &[f64]| (image.iter().sum::<f64>() - 1.0).abs() < 1e-3 && image.iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v));
    scores > 1 && !given.is_empty() && given.chunks(scores).all(sums)
}

/// The order into which the node puts axes, where that moves any number.
fn moves(graph: &Graph, node: &Node) -> Option<Vec<usize>> {
    let order = order(graph, node)?;
    let shape = &graph.ty(node.input(0)?).shape;
    let long: Vec<usize> = order.iter().copied().filter(|&a| shape.get(a) != Some(&Dim::Known(1))).collect();
    (!long.is_sorted()).then_some(order)
}

/// Whether `first` is a number where the images lie that is not theirs.
fn has_lost(batch: Option<&Dim>, first: Dim) -> bool {
    match batch {
        Some(Dim::Batch(_)) => true,
        Some(Dim::Known(images)) => *images != 1 && first == Dim::Known(1),
        None => false,
    }
}

/// Images and scores of an output that may be a classifier's: `[N, classes]`, with axes of length 1 anywhere behind the batch.
fn form(graph: &Graph, output: ValueId) -> Rule<(Dim, Dim)> {
    let ty = graph.ty(output);
    let batch = graph.inputs.first().and_then(|&i| graph.ty(i).shape.first());
    let long: Vec<Dim> = ty.shape.iter().skip(1).copied().filter(|d| *d != Dim::Known(1)).collect();
    match (ty.shape.first(), &long[..]) {
        (Some(first), [] | [Dim::Known(_)]) if ty.dtype.is_float() && Some(first) == batch => {
            Ok((*first, long.first().copied().unwrap_or(Dim::Known(1))))
        }
        // What has a batch in no place has lost it on the way.
        (Some(first), _) if ty.rank() > 1 && has_lost(batch, *first) && ty.shape.iter().all(|d| d.known().is_some()) => Err(format!(
            "is {ty}, and a classifier's is [N, classes]: the number of images that it was exported with is written into the model, or it gives one \
             result for all of them. Export it with a dynamic batch dimension"
        )),
        (Some(Dim::Batch(rows)), [] | [Dim::Known(_)]) if *rows > 1 && ty.dtype.is_float() => Err(format!(
            "is {ty}, {rows} rows for each image, and a classifier's is [N, classes]. Where a size of images is written into its shapes, {} is that size",
            Field::INPUT_SHAPE
        )),
        _ => Err(format!("is {ty}; a classifier's is [N, classes]")),
    }
}
