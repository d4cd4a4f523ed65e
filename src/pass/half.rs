//! What nodes do with numbers of half precision: an operator by what it says of itself, a function by its body.

use crate::functions;
use crate::ir::{DType, Graph, Node, Tensor, ValueId};
use crate::operator::{Half, Meaning};
use crate::ops::table;
use std::collections::HashSet;

/// The largest number of float16.
const MOST: f64 = 65504.0;

/// What a node does with half precision.
pub(super) fn of_node(node: &Node) -> Half {
    match &node.body {
        None => table::find(&node.op_type).map_or(Half::Never, |o| o.facts().half),
        Some(_) if functions::find(&node.op_type).is_some_and(|f| f.float32) => Half::Never,
        Some(body) => of_body(body),
    }
}

/// A function with a product in it computes as its parts do. One that rounds no more than once does as well. What would round more often is a formula,
/// which has a single rounding at its end.
fn of_body(body: &Graph) -> Half {
    let mut roundings = 0usize;
    let on_floats = |n: &&Node| n.used().any(|v| is_float(body, v)) && n.outputs.iter().any(|&v| body.value(v).constant.is_none());
    for node in body.nodes.iter().filter(on_floats) {
        roundings = roundings.saturating_add(match of_node(node) {
            Half::Product => return Half::Product,
            Half::Exact => 0,
            Half::Rounded => 1,
            Half::Within | Half::Never => 2,
        });
    }
    match roundings {
        0 => Half::Exact,
        1 => Half::Rounded,
        _ => Half::Within,
    }
}

/// Whether a value has numbers that may be of half precision instead.
pub(super) fn is_float(graph: &Graph, v: ValueId) -> bool {
    graph.ty(v).dtype == DType::F32
}

/// Whether the operand takes the type that the others have: a single number, a mask, a layer's bias.
pub(super) fn is_flexible(graph: &Graph, node: &Node, v: ValueId, half: DType) -> bool {
    let value = graph.value(v);
    if let Some(constant) = value.constant.as_ref().filter(|c| c.count() == 1) {
        return half != DType::F16 || constant.to_f64().is_ok_and(|n| n.iter().all(|n| n.abs() <= MOST || n.is_infinite()));
    }
    converted(graph, v).is_some() || is_bias(graph, node, v)
}

/// Whether the node has a single number for an operand that lies between those of half precision. Rounded it would be wrong by the same share in every element,
/// as `1/n` would be in a mean: such a node computes in float32.
pub(super) fn has_numbers_between(graph: &Graph, node: &Node, half: DType) -> bool {
    let single = |v: ValueId| graph.value(v).constant.as_ref().filter(|c| c.count() == 1 && c.dtype() == DType::F32);
    let is_between = |c: &Tensor| !c.cast(half).is_ok_and(|n| n.to_f64().ok() == c.to_f64().ok());
    node.used().filter_map(single).any(is_between)
}

/// The node that makes numbers of what is none: of a mask.
pub(super) fn converted(graph: &Graph, v: ValueId) -> Option<&Node> {
    let made = graph.producer(v).filter(|n| n.body.is_none() && !n.used().any(|v| graph.ty(v).dtype.is_float()))?;
    (table::find(&made.op_type)?.facts().meaning == Meaning::Conversion && made.outputs.len() == 1).then_some(made)
}

/// Whether a parameter is added to each channel of a product.
fn is_bias(graph: &Graph, node: &Node, v: ValueId) -> bool {
    let meaning = |n: &Node| table::find(&n.op_type).map_or(Meaning::Other, |o| o.facts().meaning);
    let size = |v: ValueId| graph.ty(v).shape.iter().filter(|d| d.known() != Some(1)).count();
    let product = |v: ValueId| graph.producer(v).is_some_and(|n| meaning(n).takes_bias());
    let added = meaning(node) == Meaning::Sum && !graph.value(v).varies && size(v) <= 1;
    added && node.used().filter(|&other| other != v).all(|other| product(other) && size(other) > 1)
}

/// Which nodes of a graph of mixed precision compute on numbers of half precision, whether tensors have the type or float32 ones its numbers.
pub fn half_nodes(graph: &Graph) -> Vec<bool> {
    match half_of(graph) {
        Some(half) => computed(graph, HashSet::new(), half).0,
        None => vec![false; graph.nodes.len()],
    }
}

/// The type of half precision that the graph has, or a body in it.
fn half_of(graph: &Graph) -> Option<DType> {
    let own = graph.values.iter().map(|v| v.ty.dtype).find(|ty| ty.is_half());
    own.or_else(|| graph.nodes.iter().filter_map(|n| n.body.as_deref()).find_map(half_of))
}

/// Whether the graph or a body in it has values of half precision.
pub fn has_halves(graph: &Graph) -> bool {
    half_of(graph).is_some()
}

/// The same as [`half_nodes`], and the values that have such numbers, where some inputs do.
fn computed(graph: &Graph, mut rounded: HashSet<ValueId>, half_type: DType) -> (Vec<bool>, HashSet<ValueId>) {
    let mut found = vec![];
    for node in &graph.nodes {
        let has = |v: ValueId| graph.ty(v).dtype.is_half() || rounded.contains(&v);
        let class = of_node(node);
        let mut deciding = node.used().filter(|&v| graph.ty(v).dtype.is_float() && !is_flexible(graph, node, v, half_type)).peekable();
        let half = match (node.is("Cast"), class) {
            (true, _) => false,
            _ if node.body.as_deref().is_some_and(has_halves) => true,
            (_, Half::Product) => node.used().any(has),
            (_, Half::Exact | Half::Rounded) => {
                deciding.peek().is_some() && deciding.all(has) && !has_numbers_between(graph, node, half_type)
            }
            (_, Half::Within | Half::Never) => false,
        };
        let widened = node.is("Cast") && node.used().any(|v| graph.ty(v).dtype.is_half());
        if widened || half && class == Half::Exact {
            rounded.extend(&node.outputs);
        } else if let Some(body) = node.body.as_deref().filter(|_| half) {
            let inside = computed(body, body.inputs.iter().copied().collect(), half_type).1;
            rounded.extend(node.outputs.iter().zip(&body.outputs).filter(|(_, inner)| inside.contains(inner)).map(|(&v, _)| v));
        }
        found.push(half);
    }
    (found, rounded)
}
