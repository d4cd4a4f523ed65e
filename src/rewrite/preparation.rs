//! How a network prepares its images itself: what its first nodes do to every pixel says which numbers it expects.

use super::disguise::begins;
use super::spelling::{facts, order};
use crate::bundle::Images;
use crate::ir::{Dim, Graph, Node, ValueId};
use crate::operator::{Meaning, View};
use crate::ops::batch_norm;
use std::ops::RangeInclusive;

/// How wide the numbers lie that a first layer gets from networks with normalised images: from 0…1 to ImageNet's statistics, and more.
const NORMALISED: RangeInclusive<f64> = 0.8..=12.0;

/// How far within those 0 lies, at least, where they come from pixels from 0 to 1: what leaves these nearly as they are normalises nothing.
const INSIDE: f64 = 1.0 / 20.0;

/// How wide they lie where a mean was subtracted and nothing divided, as Caffe has it.
const CENTRED: RangeInclusive<f64> = 150.0..=300.0;

/// What is done to the numbers of a channel so far: `factor · x + addend`.
#[derive(Clone, Copy)]
struct Line {
    factor: f64,
    addend: f64,
}

/// What the first nodes of a network say about its images, where they normalise them: pixels as they are, from 0 to 1 or to 255. `None` where they do nothing
/// of that kind, and where either would do.
pub fn own_preparation(graph: &Graph) -> Option<Images> {
    let input = *graph.inputs.first()?;
    let ty = graph.ty(input);
    let image = |d: &Dim| matches!(d, Dim::Known(1 | 3));
    let axis = if ty.shape.get(1).is_some_and(image) { 1 } else { 3 };
    let count = ty.shape.get(axis).filter(|d| image(d)).and_then(|d| d.known()).filter(|_| ty.rank() == 4 && ty.dtype.is_float())?;
    let lines = followed(graph, input, axis, count)?;
    let scale = match (expects(&lines, 1.0), expects(&lines, 255.0)) {
        (true, false) => 1,
        (false, true) => 255,
        _ => return None,
    };
    Some(Images { mean: Some(vec![0.0; count]), std: Some(vec![1.0; count]), scale: Some(scale), ..Images::default() })
}

/// Whether pixels from 0 to `white` leave the preparation as numbers that a first layer gets.
fn expects(lines: &[Line], white: f64) -> bool {
    lines.iter().all(|line| {
        let (a, b) = (line.addend, line.factor * white + line.addend);
        let (width, centre) = ((b - a).abs(), (a + b) / 2.0);
        let inside = a * b < 0.0 && a.abs().min(b.abs()) >= width * INSIDE;
        NORMALISED.contains(&width) && centre.abs() <= width && (inside || white > 1.0)
            || CENTRED.contains(&width) && centre.abs() <= width / 4.0
    })
}

/// What becomes of each channel before the first layer; `None` where nothing is added or multiplied.
fn followed(graph: &Graph, input: ValueId, mut axis: usize, count: usize) -> Option<Vec<Line>> {
    let live = graph.live_nodes();
    let (mut value, mut lines, mut changed) = (input, vec![Line { factor: 1.0, addend: 0.0 }; count], false);
    loop {
        let mut readers = graph.nodes.iter().zip(&live).filter(|(n, live)| **live && n.used().any(|v| v == value)).map(|(n, _)| n);
        // Where several read it, the preparation has ended.
        let (Some(node), None) = (readers.next(), readers.next()) else { break };
        let meaning = facts(graph, node).meaning;
        let own = |v: ValueId| numbers(graph, v, graph.ty(value).rank(), axis, count);
        let (first, second) = (node.input(0), node.input(1));
        let other = if first == Some(value) { second } else { first };
        let step: Option<Vec<Line>> = match meaning {
            Meaning::Identity | Meaning::Conversion => Some(lines.clone()),
            Meaning::Negation => Some(lines.iter().map(|l| Line { factor: -l.factor, addend: -l.addend }).collect()),
            Meaning::Sum | Meaning::Difference | Meaning::Product | Meaning::Quotient if node.inputs.len() == 2 => {
                other.and_then(own).and_then(|numbers| {
                    let leading = first == Some(value);
                    lines.iter().zip(numbers).map(|(line, c)| line.after(meaning, leading, c)).collect()
                })
            }
            _ if node.is(batch_norm::INFERENCE) && first == Some(value) && axis == 1 => normalised(graph, node, &lines),
            _ => None,
        };
        changed |= step.is_some() && !matches!(meaning, Meaning::Identity | Meaning::Conversion);
        match (step, order(graph, node)) {
            (Some(step), _) => lines = step,
            (None, Some(order)) => axis = order.iter().position(|&from| from == axis)?,
            // Moved within the image, or made larger or smaller: alike for channels that are alike.
            (None, None) if keeps_range(graph, node, value) && lines.iter().all(|l| l.is(lines.first())) => {}
            _ => break,
        }
        let Some(&result) = node.outputs.first() else { break };
        value = result;
    }
    changed.then_some(lines)
}

/// By the statistics that a BatchNormalization holds for each channel.
fn normalised(graph: &Graph, node: &Node, lines: &[Line]) -> Option<Vec<Line>> {
    let held = |i: usize| {
        let tensor = graph.value(node.input(i)?).constant.as_ref()?;
        tensor.to_f64().ok().filter(|values| values.len() == lines.len())
    };
    let (scale, shift, mean, variance) = (held(1)?, held(2)?, held(3)?, held(4)?);
    let epsilon = f64::from(node.float("epsilon", 1e-5));
    let statistics = scale.iter().zip(&shift).zip(mean.iter().zip(&variance));
    let after = lines.iter().zip(statistics).map(|(line, ((scale, shift), (mean, variance)))| {
        let factor = scale / (variance + epsilon).sqrt();
        Line { factor: line.factor * factor, addend: (line.addend - mean) * factor + shift }
    });
    Some(after.collect())
}

impl Line {
    /// After a number was added, subtracted, multiplied or divided by; `leading` where the image stands first.
    fn after(self, meaning: Meaning, leading: bool, c: f64) -> Option<Line> {
        let Line { factor, addend } = self;
        Some(match (meaning, leading) {
            (Meaning::Sum, _) => Line { factor, addend: addend + c },
            (Meaning::Difference, true) => Line { factor, addend: addend - c },
            (Meaning::Difference, false) => Line { factor: -factor, addend: c - addend },
            (Meaning::Product, _) => Line { factor: factor * c, addend: addend * c },
            (Meaning::Quotient, true) if c != 0.0 => Line { factor: factor / c, addend: addend / c },
            _ => return None,
        })
    }

    fn is(&self, other: Option<&Line>) -> bool {
        other.is_some_and(|o| o.factor == self.factor && o.addend == self.addend)
    }
}

/// Whether the node hands on numbers of an image, or means of them, in channels as before.
fn keeps_range(graph: &Graph, node: &Node, value: ValueId) -> bool {
    let facts = facts(graph, node);
    let (own, Some(result)) = (graph.ty(value), node.outputs.first().map(|&o| graph.ty(o))) else { return false };
    let alone = node.used().filter(|&v| graph.value(v).varies).count() == 1;
    let plain = View { graph, node }.operator().is_some_and(|o| o.parameters(&View { graph, node }).iter().all(|p| p.is_none()));
    alone
        && plain
        && node.outputs.len() == 1
        && !facts.elementwise
        && !begins(graph, node)
        && matches!(facts.meaning, Meaning::Other | Meaning::Mean)
        && own.rank() == result.rank()
}

/// A constant beside an image: one number for each channel.
fn numbers(graph: &Graph, v: ValueId, rank: usize, axis: usize, count: usize) -> Option<Vec<f64>> {
    let tensor = graph.value(v).constant.as_ref().filter(|t| t.dtype().is_float() && t.count() <= count)?;
    // Operands are laid over each other at their ends.
    let place = axis.checked_sub(rank.checked_sub(tensor.shape().len())?);
    let along = |(i, &d): (usize, &usize)| d == 1 || (Some(i) == place && d == count);
    let values = tensor.to_f64().ok()?;
    match values[..] {
        _ if !tensor.shape().iter().enumerate().all(along) => None,
        [one] => Some(vec![one; count]),
        _ => (values.len() == count).then_some(values),
    }
}
